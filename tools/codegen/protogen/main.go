// Command protogen compiles .proto files and runs generators over them, as protoc would, but is Go
// all the way: its pins are in go.mod, and there is nothing to download.
//
//	protogen -path pkg/ray/gcs/autoscalerpb -plugin bin/protoc-gen-go autoscaler.proto
//
// The generated files land beside the .proto files.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	folder := flag.String("path", ".", "folder of the .proto files")
	plugins := flag.String("plugin", "", "generators to run, separated by commas")
	flag.Parse()
	if err := generate(*folder, strings.Split(*plugins, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func generate(folder string, plugins, names []string) error {
	compiler := protocompile.Compiler{
		Resolver: &protocompile.SourceResolver{ImportPaths: []string{folder}},
		// Generators copy the comments.
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String("paths=source_relative"),
	}
	for _, f := range files {
		request.ProtoFile = append(request.ProtoFile, proto.CloneOf[*descriptorpb.FileDescriptorProto](protoutil.ProtoFromFileDescriptor(f)))
	}
	for _, plugin := range plugins {
		if err := run(plugin, request, folder); err != nil {
			return fmt.Errorf("run %s: %w", filepath.Base(plugin), err)
		}
	}
	return nil
}

// run hands the request to one generator and writes the files that it answers with.
func run(plugin string, request *pluginpb.CodeGeneratorRequest, folder string) error {
	in, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	cmd := exec.Command(plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return fmt.Errorf("decode the response: %w", err)
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, f := range response.GetFile() {
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(f.GetName())), []byte(f.GetContent()), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.GetName(), err)
		}
	}
	return nil
}
