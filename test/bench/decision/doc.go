// Package decision measures what a decision costs on large generated clusters, beside Cluster
// Autoscaler's own simulation of the same pods on the same nodes in the same run.
package decision
