package fakeaws

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// pageNames are the parameters with which an API pages and the error for a bad token.
type pageNames struct {
	size, token   string
	fallback, max int
	badToken      string
}

var (
	pagesOfGroups     = pageNames{"MaxRecords", "NextToken", 50, 100, "InvalidNextToken"}
	pagesOfActivities = pageNames{"MaxRecords", "NextToken", 100, 100, "InvalidNextToken"}
	pagesOfEC2        = pageNames{"MaxResults", "NextToken", 1000, 1000, "InvalidNextToken"}
	pagesOfEKS        = pageNames{"maxResults", "nextToken", 100, 100, "InvalidParameterException"}
)

const tokenMark = "page-"

// page cuts out the part of items that the request asks for. The token is opaque to clients, and only
// this server's own are taken.
func page[T any](items []T, p params, names pageNames) ([]T, string, error) {
	size, err := p.number(names.size, names.fallback)
	if err != nil {
		return nil, "", err
	}
	if size < 1 || size > names.max {
		return nil, "", invalid("%s must be between 1 and %d, not %d", names.size, names.max, size)
	}
	start := 0
	if token := p[names.token]; token != "" {
		text, err := base64.RawURLEncoding.DecodeString(token)
		rest, marked := strings.CutPrefix(string(text), tokenMark)
		n, convErr := strconv.Atoi(rest)
		if err != nil || !marked || convErr != nil || n < 0 || n > len(items) {
			return nil, "", refuse(names.badToken, "The token '%s' is invalid.", token)
		}
		start = n
	}
	end := min(start+size, len(items))
	next := ""
	if end < len(items) {
		next = base64.RawURLEncoding.EncodeToString([]byte(tokenMark + strconv.Itoa(end)))
	}
	return items[start:end], next, nil
}
