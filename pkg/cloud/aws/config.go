package aws

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
)

// loadConfig reads region and credentials as every AWS tool does, and insists on both: a manager
// that starts without them would find out in the middle of a gang.
func loadConfig(ctx context.Context, o Options) (awssdk.Config, error) {
	load := []func(*config.LoadOptions) error{
		config.WithAppID("capmgr"),
		config.WithRetryer(func() awssdk.Retryer { return newRetryer(retry.DefaultMaxBackoff) }),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return cfg, fmt.Errorf("aws configuration: %w: %s", err, credentialsRemedy(os.Getenv))
	}
	if cfg.Region == "" {
		return cfg, errors.New("aws region: none given: set the provider's region or AWS_REGION")
	}
	return cfg, checkCredentials(ctx, cfg.Credentials, os.Getenv)
}

// newRetryer is one per client: adaptive, so that throttles of one service slow only its calls.
func newRetryer(maxBackoff time.Duration) awssdk.Retryer {
	return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, func(s *retry.StandardOptions) {
			s.MaxAttempts = 5
			s.MaxBackoff = maxBackoff
		})
	})
}

func checkCredentials(ctx context.Context, from awssdk.CredentialsProvider, env func(string) string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if from == nil {
		return fmt.Errorf("aws credentials: no source: %s", credentialsRemedy(env))
	}
	switch _, err := from.Retrieve(ctx); {
	case err == nil:
	case strings.Contains(err.Error(), "no EC2 IMDS role found"):
		// The last source of the chain; the SDK's own words are about its inner workings.
		return fmt.Errorf("aws credentials: none in the environment, and the instance gives none: %s", credentialsRemedy(env))
	default:
		return fmt.Errorf("aws credentials: %w: %s", err, credentialsRemedy(env))
	}
	return nil
}

// credentialsRemedy names what the environment lacks. A half-made set-up is named first, because
// the SDK then says only that every source failed.
func credentialsRemedy(env func(string) string) string {
	for _, pair := range [][2]string{
		{"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"},
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
		{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
	} {
		switch first, second := env(pair[0]) != "", env(pair[1]) != ""; {
		case first && second:
			return pair[0] + " and " + pair[1] + " are set: check that they are valid"
		case first:
			return "set " + pair[1] + ", which " + pair[0] + " needs"
		case second:
			return "set " + pair[0] + ", which " + pair[1] + " needs"
		}
	}
	return "set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (annotate the service account with eks.amazonaws.com/role-arn), " +
		"associate an EKS Pod Identity, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
}
