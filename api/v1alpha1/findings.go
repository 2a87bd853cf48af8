package v1alpha1

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// InvalidError says all that is wrong with a configuration.
//
// +kubebuilder:object:generate=false
type InvalidError struct {
	// Errors hold one entry per finding. Detail is a whole sentence part: what is
	// wrong, and what to write instead.
	Errors field.ErrorList
}

// Error prints one finding per line: the path of the field, then what is wrong with
// it and what to do. The values of fields are not repeated around it, as field.Error
// does by itself: of a whole node group that would hide the sentence.
func (e *InvalidError) Error() string {
	lines := make([]string, 0, len(e.Errors))
	for _, err := range e.Errors {
		line := err.Detail
		if err.Field != "" {
			line = err.Field + ": " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As the single findings.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, 0, len(e.Errors))
	for _, err := range e.Errors {
		errs = append(errs, err)
	}
	return errs
}

// invalidDocument wraps what is wrong with the document as a whole.
func invalidDocument(err error) error {
	return &InvalidError{Errors: field.ErrorList{{Type: field.ErrorTypeInvalid, Detail: err.Error()}}}
}

// findings collect errors, one per field: a value that has the wrong type is
// dropped before the rules see it, and must not be reported as missing as well.
//
// +kubebuilder:object:generate=false
type findings struct {
	errors  field.ErrorList
	settled []string
}

// add takes errors, except those of fields that are settled already.
func (f *findings) add(errs ...*field.Error) {
	settled := len(f.settled)
	for _, err := range errs {
		if !f.covers(err.Field, settled) {
			f.errors = append(f.errors, err)
			f.settle(err.Field)
		}
	}
}

// settle says that enough has been said about a field.
func (f *findings) settle(path string) { f.settled = append(f.settled, path) }

// covers says whether one of the first n settled fields is path or holds it.
// The document itself, whose path is empty, holds all.
func (f *findings) covers(path string, n int) bool {
	for _, s := range f.settled[:n] {
		rest, found := strings.CutPrefix(path, s)
		if found && (s == "" || rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

func (f *findings) err() error {
	if len(f.errors) == 0 {
		return nil
	}
	return &InvalidError{Errors: f.errors}
}
