// Command architecture draws docs/architecture.svg: the way of the data, laid out by hand, and
// below it who imports whom, read from the code.
//
//	go run ./tools/architecture >docs/architecture.svg
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "architecture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	imports, err := readImports(ctx)
	if err != nil {
		return err
	}
	rows, err := order(imports)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	draw(out, rows, imports)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}
