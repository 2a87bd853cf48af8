package localcluster

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// auditFor prepares the audit log of these users.
func (c *Cluster) auditFor(users []string) error {
	if len(users) == 0 {
		return nil
	}
	policy, err := yaml.Marshal(map[string]any{
		"apiVersion": "audit.k8s.io/v1",
		"kind":       "Policy",
		// What is asked is not noted at arrival: only then is its outcome unknown.
		"omitStages": []string{"RequestReceived"},
		"rules":      []map[string]any{{"level": "Metadata", "users": users}, {"level": "None"}},
	})
	if err != nil {
		return fmt.Errorf("encode the audit policy: %w", err)
	}
	if err := os.WriteFile(c.auditPolicy(), policy, 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	c.AuditLog = filepath.Join(c.Dir, "logs", "audit.jsonl")
	return nil
}

func (c *Cluster) auditPolicy() string { return filepath.Join(c.Dir, "audit-policy.yaml") }

func (c *Cluster) auditArgs() []string {
	if c.AuditLog == "" {
		return nil
	}
	return []string{
		"--audit-policy-file=" + c.auditPolicy(),
		"--audit-log-path=" + c.AuditLog,
	}
}
