package fakeaws

import (
	"slices"
	"strconv"
)

const (
	resourceTypeGroup = "auto-scaling-group"
	// maxTags is the service's limit for one group.
	maxTags = 50
)

type describeTagsResult struct {
	Tags      []xmlTag `xml:"Tags>member"`
	NextToken string   `xml:",omitempty"`
}

func describeTags(w *world, p params) (answer, error) {
	var found []xmlTag
	for _, g := range w.sortedGroups() {
		for _, tag := range groupTags(g) {
			ok, err := matchTag(tag, p.each("Filters"))
			if err != nil {
				return answer{}, err
			}
			if ok {
				found = append(found, tag)
			}
		}
	}
	shown, next, err := page(found, p, pagesOfGroups)
	if err != nil {
		return answer{}, err
	}
	return answer{body: describeTagsResult{Tags: shown, NextToken: next}}, nil
}

func matchTag(tag xmlTag, filters []params) (bool, error) {
	for _, f := range filters {
		var value string
		switch f["Name"] {
		case "auto-scaling-group":
			value = tag.ResourceID
		case "key":
			value = tag.Key
		case "value":
			value = tag.Value
		case "propagate-at-launch":
			value = strconv.FormatBool(tag.PropagateAtLaunch)
		default:
			return false, invalid("Filter type %s is not correct", f["Name"])
		}
		if !slices.Contains(f.list("Values"), value) {
			return false, nil
		}
	}
	return true, nil
}

func createOrUpdateTags(w *world, p params) (answer, error) {
	return changeTags(w, p, func(g *group, tag params) error {
		if _, known := g.tags[tag["Key"]]; !known && len(g.tags) >= maxTags {
			return refuse("LimitExceeded", "The group %s has %d tags already", g.cfg.Name, maxTags)
		}
		g.tags[tag["Key"]] = groupTag{value: tag["Value"], propagate: tag["PropagateAtLaunch"] == "true"}
		return nil
	})
}

func deleteTags(w *world, p params) (answer, error) {
	return changeTags(w, p, func(g *group, tag params) error {
		delete(g.tags, tag["Key"])
		return nil
	})
}

// changeTags checks all tags before it changes the first.
func changeTags(w *world, p params, change func(*group, params) error) (answer, error) {
	tags := p.each("Tags")
	for _, tag := range tags {
		if tag["ResourceType"] != resourceTypeGroup {
			return answer{}, invalid("The resource type %s is not supported", tag["ResourceType"])
		}
		if _, err := w.group(tag["ResourceId"]); err != nil {
			return answer{}, err
		}
		if _, err := tag.required("Key"); err != nil {
			return answer{}, err
		}
	}
	for _, tag := range tags {
		if err := change(w.groups[tag["ResourceId"]], tag); err != nil {
			return answer{}, err
		}
	}
	return answer{}, nil
}
