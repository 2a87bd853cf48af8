package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the Makefile; a plain `go build` leaves it to the module's own version.
var version string

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of capmgr and of what it is built on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, libraries := version, map[string]string{}
			if info, ok := debug.ReadBuildInfo(); ok {
				v = cmp.Or(v, info.Main.Version)
				for _, d := range info.Deps {
					libraries[d.Path] = d.Version
					if d.Replace != nil {
						libraries[d.Path] = d.Replace.Version
					}
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "capmgr %s (%s, %s/%s)\n", cmp.Or(v, "(devel)"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			for _, l := range []struct{ name, path string }{
				{"scheduler plugins", "k8s.io/kubernetes"},
				{"Cluster Autoscaler", "k8s.io/autoscaler/cluster-autoscaler"},
				{"KubeRay API", "github.com/ray-project/kuberay/ray-operator"},
				{"AWS Auto Scaling SDK", "github.com/aws/aws-sdk-go-v2/service/autoscaling"},
			} {
				fmt.Fprintf(cmd.OutOrStdout(), "  %-20s  %s\n", l.name, cmp.Or(libraries[l.path], "unknown"))
			}
			return nil
		},
	}
}
