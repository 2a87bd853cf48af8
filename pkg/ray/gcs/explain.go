package gcs

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
)

// Explain says for people why a head was not heard. It is the same for the same cause: addresses and
// durations would make it news every time.
func Explain(err error) string {
	if err == nil {
		return ""
	}
	s, answered := statusOf(err)
	switch {
	case errors.Is(err, ErrNoToken):
		return err.Error()
	case Denied(err):
		return "the head refuses the token"
	case Unsupported(err):
		return "the head's Ray does not know the question"
	case Passive(err):
		return "the head waits to be promoted"
	case errors.Is(err, context.DeadlineExceeded), answered && s.Code() == codes.DeadlineExceeded:
		return "the head does not answer in time"
	}
	return "the head cannot be reached"
}

// ErrNoToken says that a head wants a token, or a certificate, that is not to be had.
var ErrNoToken = errors.New("the head's token cannot be read")
