package scheduler_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain makes the random tests repeatable and thorough unless the command line says otherwise:
// `go test -rapid.seed=0 -rapid.checks=100000` looks for something new.
func TestMain(m *testing.M) {
	flag.Parse()
	said := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { said[f.Name] = true })
	for name, value := range map[string]string{"rapid.seed": "20260105", "rapid.checks": "1000"} {
		if said[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
