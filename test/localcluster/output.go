package localcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNotBuilt says that the programs of the control plane are missing.
var ErrNotBuilt = errors.New("the local control plane is not built, run `make tools`")

// programs are those that a cluster may start.
var programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "kwok", "kuberay-operator"}

// Output finds the built programs and their data files: the folders that
// tools/build.sh fills, in the repository around the working directory. The
// error wraps ErrNotBuilt when nothing has been built there.
func Output() (bin, share string, err error) {
	output := os.Getenv("CAPMGR_OUTPUT")
	if output == "" {
		root, err := repository()
		if err != nil {
			return "", "", err
		}
		output = filepath.Join(root, "_output")
	}
	bin, share = filepath.Join(output, "bin"), filepath.Join(output, "share")
	return bin, share, checkBuilt(bin)
}

// repository walks up to the folder that has both the build script and a go.mod:
// the tools have go.mod files of their own.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "tools", "build.sh")) && exists(filepath.Join(dir, "go.mod")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: %s is in none", start)
		}
	}
}

func checkBuilt(bin string) error {
	for _, name := range programs {
		if path := filepath.Join(bin, name); !exists(path) {
			return fmt.Errorf("find %s: %w", path, ErrNotBuilt)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
