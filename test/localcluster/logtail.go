package localcluster

import (
	"io"
	"os"
	"strings"
)

// tailLines and tailBytes bound what an error quotes of a log.
const (
	tailLines = 12
	tailBytes = 4096
)

// logSection is the part of a log that one process wrote: from its start on.
type logSection struct {
	path string
	from int64
}

func sectionFrom(file *os.File) (logSection, error) {
	info, err := file.Stat()
	if err != nil {
		return logSection{}, err
	}
	return logSection{path: file.Name(), from: info.Size()}, nil
}

// tail returns the last lines of the section, or why there are none.
func (s logSection) tail() string {
	file, err := os.Open(s.path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(s.from, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(file, from, info.Size()-from))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
