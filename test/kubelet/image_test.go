package kubelet

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tools are the programs that KubeRay's commands, and Ray's, call.
var tools = []string{"bash", "sh", "cat", "env", "grep", "hostname", "ls", "mkdir", "ps", "rm", "sleep", "tail", "true", "uname"}

// rayImage makes an image of this machine's Python with Ray in it, unless it is there already.
func rayImage(t *testing.T, bin, file, name string) {
	t.Helper()
	if _, err := os.Stat(file); err == nil {
		return
	}
	env := filepath.Dir(bin)
	i := newImage(t, file)
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "python"), "-c",
		"import sysconfig; p = sysconfig.get_paths(); print(p['stdlib'], p['platstdlib'])").Output()
	if err != nil {
		t.Fatalf("ask Python where it is: %v", err)
	}
	words := strings.Fields(string(out))
	i.tree(words[0])
	i.tree(words[1])
	i.file(filepath.Join(bin, "python"))
	i.tree(env)
	for _, program := range tools {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatalf("%s is missing: %v", program, err)
		}
		i.program(path, "/bin/"+program)
	}
	i.text("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
	i.text("/etc/group", "root:x:0:\n")
	i.text("/etc/nsswitch.conf", "hosts: files dns\n")
	for _, dir := range []string{"/root", "/tmp", "/run", "/proc", "/sys", "/dev"} {
		i.folder(dir)
	}
	i.finish(name, []string{"PATH=" + bin + ":/bin", "HOME=/root", "RAY_USAGE_STATS_ENABLED=0", "PYTHONHOME="}, nil)
}

// pauseImage makes the image of a static program.
func pauseImage(t *testing.T, program, file, name string) {
	t.Helper()
	i := newImage(t, file)
	i.program(program, "/pause")
	i.finish(name, nil, []string{"/pause"})
}

// image is an archive of one layer, as docker save writes it.
type image struct {
	t     *testing.T
	path  string
	layer *os.File
	hash  interface{ Sum([]byte) []byte }
	tar   *tar.Writer
	done  map[string]bool // paths that are in it
	libs  map[string]bool // that something is linked with
}

func newImage(t *testing.T, path string) *image {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	layer, err := os.Create(path + ".layer")
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	return &image{t: t, path: path, layer: layer, hash: h, tar: tar.NewWriter(io.MultiWriter(layer, h)), done: map[string]bool{}, libs: map[string]bool{}}
}

func (i *image) must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatalf("make %s: %v", i.path, err)
	}
}

// superfluous is what of Python a program does not need.
var superfluous = []string{"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "__pycache__", "pip", "setuptools"}

// tree adds a folder to its own path.
func (i *image) tree(root string) {
	i.must(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && slices.Contains(superfluous, d.Name()) && !strings.Contains(path, "/ray/"):
			return filepath.SkipDir
		case d.IsDir() || strings.HasSuffix(path, ".a"):
			return nil
		}
		i.file(path)
		return nil
	}))
}

// file adds a file to its own path, and whatever it is linked with, by the system's links or the linker's.
func (i *image) file(path string) {
	info, err := os.Lstat(path)
	i.must(err)
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		i.must(err)
		if !i.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: target, Mode: 0o777}) {
			return
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		if info, err := os.Stat(target); err == nil && info.Mode().IsRegular() {
			i.file(target)
		}
		return
	}
	if info.Mode().IsRegular() {
		i.program(path, path)
	}
}

// program adds a file to a path, and whatever it is linked with to theirs.
func (i *image) program(from, to string) {
	data, err := os.ReadFile(from)
	i.must(err)
	info, err := os.Stat(from)
	i.must(err)
	if !i.header(&tar.Header{Name: to, Mode: int64(info.Mode().Perm()), Size: int64(len(data))}) {
		return
	}
	_, err = i.tar.Write(data)
	i.must(err)
	if bytes.HasPrefix(data, []byte("\x7fELF")) {
		i.linked(from)
	}
}

// linked adds the libraries of a program.
func (i *image) linked(path string) {
	out, _ := exec.CommandContext(i.t.Context(), "ldd", path).Output() // a static program has none
	for _, line := range strings.Split(string(out), "\n") {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") && !i.libs[word] {
				i.libs[word] = true
				target, err := filepath.EvalSymlinks(word)
				i.must(err)
				i.program(target, word)
			}
		}
	}
}

func (i *image) text(path, text string) {
	if i.header(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text))}) {
		_, err := i.tar.Write([]byte(text))
		i.must(err)
	}
}

func (i *image) folder(path string) {
	i.header(&tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o1777})
}

// header begins an entry, unless it is there.
func (i *image) header(h *tar.Header) bool {
	if i.done[h.Name] {
		return false
	}
	i.done[h.Name] = true
	h.Name = strings.TrimPrefix(h.Name, "/")
	i.must(i.tar.WriteHeader(h))
	return true
}

// finish writes the archive.
func (i *image) finish(name string, env, entrypoint []string) {
	i.must(i.tar.Close())
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Env": env, "Entrypoint": entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(i.hash.Sum(nil))}},
	})
	i.must(err)
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	i.must(err)
	out, err := os.Create(i.path + ".new")
	i.must(err)
	defer out.Close()
	w := tar.NewWriter(out)
	for file, data := range map[string][]byte{"config.json": config, "manifest.json": manifest} {
		i.must(w.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(data))}))
		_, err := w.Write(data)
		i.must(err)
	}
	size, err := i.layer.Seek(0, io.SeekEnd)
	i.must(err)
	_, err = i.layer.Seek(0, io.SeekStart)
	i.must(err)
	i.must(w.WriteHeader(&tar.Header{Name: "layer.tar", Mode: 0o644, Size: size}))
	_, err = io.Copy(w, i.layer)
	i.must(err)
	i.must(w.Close())
	i.must(i.layer.Close())
	i.must(os.Remove(i.path + ".layer"))
	i.must(os.Rename(i.path+".new", i.path))
	i.t.Logf("made %s: %d MiB", filepath.Base(i.path), size>>20)
}
