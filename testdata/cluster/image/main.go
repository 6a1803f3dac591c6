// Command image writes tokengate's container image for both architectures, and the list of what it contains beside it.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tokengate/tokengate/testdata/cluster/images"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("image: ")
	version := flag.String("version", "", "the version, also the image's tag")
	commit := flag.String("commit", "", "the commit")
	created := flag.Int64("created", 0, "the time of the commit, in Unix seconds")
	programs := flag.String("programs", "", "the directory of tokengate-amd64 and tokengate-arm64")
	output := flag.String("output", "", "the directory to write to")
	flag.Parse()
	if err := write(*version, *commit, time.Unix(*created, 0).UTC(), *programs, *output); err != nil {
		log.Fatal(err)
	}
}

func write(version, commit string, created time.Time, programs, output string) error {
	var all []v1.Image
	for _, arch := range []string{"amd64", "arm64"} {
		program := filepath.Join(programs, "tokengate-"+arch)
		spec, err := images.Tokengate(program, arch, version, commit, created)
		if err != nil {
			return err
		}
		image, err := images.Build(spec)
		if err != nil {
			return err
		}
		size, err := images.CompressedSize(image)
		if err != nil {
			return err
		}
		fmt.Printf("linux/%s: %.1f MB compressed\n", arch, float64(size)/1e6)
		all = append(all, image)
	}
	archive := filepath.Join(output, "tokengate-"+version+".tar")
	if err := images.WriteArchive(archive, "docker.io/library/tokengate:"+version, all...); err != nil {
		return err
	}
	var sbom bytes.Buffer
	if err := images.WriteSBOM(&sbom, filepath.Join(programs, "tokengate-amd64"), version, created); err != nil {
		return err
	}
	list := filepath.Join(output, "tokengate-"+version+".cdx.json")
	if err := os.WriteFile(list, sbom.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n", archive, list)
	return nil
}
