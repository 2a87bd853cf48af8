package aws

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"golang.org/x/time/rate"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// setEnv gives the SDK an environment without the credentials of whoever runs the test.
func setEnv(t *testing.T, keysAndValues ...string) {
	t.Helper()
	for _, k := range []string{
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE",
	} {
		t.Setenv(k, "")
	}
	absent := filepath.Join(t.TempDir(), "absent")
	t.Setenv("AWS_CONFIG_FILE", absent)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", absent)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for i := 0; i < len(keysAndValues); i += 2 {
		t.Setenv(keysAndValues[i], keysAndValues[i+1])
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	const key, secret = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
	for name, tc := range map[string]struct {
		env    []string
		region string
		want   []string
	}{
		"region":     {[]string{key, "a", secret, "b"}, "", []string{"aws region", "set the provider's region or AWS_REGION"}},
		"all":        {nil, "us-east-1", []string{"aws credentials: ", "set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE", "Pod Identity", key}},
		"the secret": {[]string{key, "a"}, "us-east-1", []string{"aws credentials: ", "set AWS_SECRET_ACCESS_KEY, which AWS_ACCESS_KEY_ID needs"}},
		"token file": {[]string{"AWS_ROLE_ARN", "arn:aws:iam::1:role/capmgr"}, "us-east-1", []string{"aws credentials: ", "set AWS_WEB_IDENTITY_TOKEN_FILE, which AWS_ROLE_ARN needs"}},
		"the role":   {[]string{"AWS_WEB_IDENTITY_TOKEN_FILE", "/token"}, "us-east-1", []string{"aws ", "set AWS_ROLE_ARN, which AWS_WEB_IDENTITY_TOKEN_FILE needs"}},
		"token itself": {[]string{"AWS_ROLE_ARN", "arn:aws:iam::1:role/capmgr", "AWS_WEB_IDENTITY_TOKEN_FILE", "/absent/token"}, "us-east-1",
			[]string{"aws credentials: ", "check that they are valid"}},
	} {
		t.Run(name, func(t *testing.T) {
			setEnv(t, tc.env...)
			p, err := New(context.Background(), Options{Region: tc.region})
			if err == nil {
				t.Fatalf("no error, region %q", p.opts.Region)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: does not say %q", err, part)
				}
			}
		})
	}
}

func TestNew(t *testing.T) {
	setEnv(t, "AWS_ACCESS_KEY_ID", "a", "AWS_SECRET_ACCESS_KEY", "b", "AWS_REGION", "us-east-1")
	w := newWire(t, map[string][]http.HandlerFunc{"LaunchInstances": {launched("", "i-1")}, "CreateTags": tagsAnswer})
	p, err := New(context.Background(), Options{Endpoint: w.URL})
	if err != nil {
		t.Fatal(err)
	}
	if p.opts.Region != "us-east-1" || len(w.calls) != 0 {
		t.Errorf("region %q, %d calls", p.opts.Region, len(w.calls))
	}
	if ids, err := p.Launch(context.Background(), request(1)); err != nil || len(ids) != 1 {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestRetryerIsAdaptive(t *testing.T) {
	r := newRetryer(retry.DefaultMaxBackoff)
	if _, ok := r.(*retry.AdaptiveMode); !ok || r.MaxAttempts() != 5 {
		t.Errorf("%T with %d attempts", r, r.MaxAttempts())
	}
}

func TestOwnRateLimit(t *testing.T) {
	turn := rate.NewLimiter(rate.Every(time.Hour), 1)
	sent := 0
	send := func(context.Context) (int, error) { sent++; return sent, nil }
	if n, err := call(context.Background(), turn, time.Minute, send); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := call(context.Background(), turn, time.Minute, send); !errors.Is(err, cloud.ErrThrottled) || sent != 1 {
		t.Errorf("%d sent, %v", sent, err)
	}
}
