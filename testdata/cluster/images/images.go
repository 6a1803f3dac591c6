// Package images makes container images without a daemon.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is a file of an image.
type File struct {
	Path    string // absolute, in the image
	Source  string // a file that is copied; "": Content
	Content []byte
	Mode    int64 // such as 0o755
	Dir     bool  // an empty directory
}

// Spec describes an image for Linux.
type Spec struct {
	Arch       string // as in GOARCH
	User       string // "65532:65532"; "" is root
	Entrypoint []string
	Env        []string
	Labels     map[string]string
	Created    time.Time // the time of the image and of its files
	Fast       bool      // compress little
	Files      []File
}

// Build returns the image, with all files in one layer. The same Spec gives the same bytes.
func Build(s Spec) (v1.Image, error) {
	level := gzip.BestCompression
	if s.Fast {
		level = gzip.BestSpeed
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		var b bytes.Buffer
		if err := s.writeFiles(&b); err != nil {
			return nil, err
		}
		return io.NopCloser(&b), nil
	}, tarball.WithCompressionLevel(level), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make a layer: %w", err)
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: s.Created}}})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, s.config(image))
}

func (s Spec) config(image v1.Image) *v1.ConfigFile {
	c, err := image.ConfigFile()
	if err != nil {
		panic(err) // an image in memory has one
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Created = "linux", s.Arch, v1.Time{Time: s.Created}
	c.Config = v1.Config{User: s.User, Entrypoint: s.Entrypoint, Env: s.Env, Labels: s.Labels, WorkingDir: "/"}
	return c
}

// writeFiles writes the files and their directories as a tar archive.
func (s Spec) writeFiles(w io.Writer) error {
	files := slices.Clone(s.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	t := tar.NewWriter(w)
	made := map[string]bool{"/": true}
	var mkdir func(dir string, mode int64) error
	mkdir = func(dir string, mode int64) error {
		if made[dir] {
			return nil
		}
		if err := mkdir(path.Dir(dir), 0o755); err != nil {
			return err
		}
		made[dir] = true
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: mode, ModTime: s.Created})
	}
	for _, f := range files {
		if f.Dir {
			if err := mkdir(f.Path, f.Mode); err != nil {
				return err
			}
			continue
		}
		if err := mkdir(path.Dir(f.Path), 0o755); err != nil {
			return err
		}
		content := f.Content
		if f.Source != "" {
			var err error
			if content, err = os.ReadFile(f.Source); err != nil {
				return fmt.Errorf("read a file of the image: %w", err)
			}
		}
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Path[1:], Mode: f.Mode, Size: int64(len(content)), ModTime: s.Created}); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	return t.Close()
}

// CompressedSize returns the size of the image's layers as they are transferred, in bytes.
func CompressedSize(image v1.Image) (size int64, err error) {
	layers, err := image.Layers()
	if err != nil {
		return 0, err
	}
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}
