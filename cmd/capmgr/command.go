package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"go.uber.org/zap/zapcore"
)

// newCommand is the root command with one subcommand per file of this folder.
func newCommand() *cobra.Command {
	name := "capmgr"
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-") {
		name = "kubectl capmgr"
	}
	root := &cobra.Command{
		Use:           "capmgr",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:         "Schedules gangs of Ray on GPUs, and buys and gives back the nodes for them",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRunCommand(), newPlanCommand(), newExplainCommand(), newVersionCommand())
	return root
}

// oneLine writes an error as one line: cobra puts its suggestions for a misspelt command in a block.
func oneLine(err error) string {
	text, suggestions, found := strings.Cut(strings.TrimSpace(err.Error()), "\n\nDid you mean this?\n")
	if found {
		text += "; did you mean " + strings.Join(strings.Fields(suggestions), " or ") + "?"
	}
	return text
}

// setLogger sends all logs, those of the libraries too, to standard error in one format.
// verbosity 0 is one line per decision with consequences.
func setLogger(verbosity int) logr.Logger {
	log := zap.New(zap.Level(zapcore.Level(-verbosity)), zap.WriteTo(os.Stderr), zap.StacktraceLevel(zapcore.PanicLevel)) //nolint:gosec // a small flag value
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("kubernetes").V(2)) // libraries are chatty at their level 0
	return log
}
