package envoytest

import (
	"fmt"
	"os"
	"path/filepath"
)

// BinaryEnv names the environment variable that holds another Envoy's path.
const BinaryEnv = "TOKENGATE_ENVOY"

// Binary finds Envoy: $TOKENGATE_ENVOY, or .tools/envoy in the working
// directory or the nearest directory above it that has one, where `make tools`
// puts it.
func Binary() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("find envoy by %s: %w", BinaryEnv, err)
		}
		return path, nil
	}
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find envoy: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, ".tools", "envoy")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find envoy: no .tools/envoy in %s or above it: run `make tools`, or set %s", start, BinaryEnv)
		}
	}
}
