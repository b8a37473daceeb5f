// The configuration: read strictly, so that a typing error is an error of the self-test and not a hole.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// Config is what the operator decided.
type Config struct {
	LookupURL        string // The badge's number is appended to it.
	Fresh            uint64 // Seconds for which an answer of the service is used without asking again.
	Stale            uint64 // Seconds for which it may be used while the service is away.
	Unknown          uint64 // Seconds for which an unknown badge is not asked for again.
	LoginsPerHour    uint64
	PublishPerSecond uint64
	Rules            []RuleTemplate
}

// RuleTemplate is a rule whose filter has places for the badge. Without a role it is for every badge.
type RuleTemplate struct {
	Role    *string
	Effect  Effect
	Actions Actions
	Filter  string
	MaxQoS  uint64
}

// table is a JSON object, and the place of its keys in the configuration. The first error stays.
type table struct {
	at   string
	keys map[string]json.RawMessage
	err  error
}

// parseConfig reads the configuration. The error names the key.
func parseConfig(text string) (*Config, error) {
	t := table{}
	if json.Unmarshal([]byte(text), &t.keys) != nil {
		return nil, errors.New("it is no table")
	}
	t.only("lookup-url", "fresh", "stale", "unknown", "logins-per-hour", "publish-per-second", "rules")
	url := t.text("lookup-url")
	if url == nil {
		t.fail("lookup-url", "needed")
	} else if !(strings.HasPrefix(*url, "http://") || strings.HasPrefix(*url, "https://")) || !strings.HasSuffix(*url, "/") {
		t.fail("lookup-url", "not an http or https URL that ends with /")
	}
	var rules []json.RawMessage
	if listed, found := t.keys["rules"]; found && json.Unmarshal(listed, &rules) != nil {
		t.fail("rules", "not a list")
	}
	if len(rules) < 1 || len(rules) > 64 {
		t.fail("rules", "1 to 64 are needed")
	}
	config := &Config{
		Fresh:            t.number("fresh", 60, 0, 86_400),
		Stale:            t.number("stale", 28_800, 0, 604_800),
		Unknown:          t.number("unknown", 30, 0, 3_600),
		LoginsPerHour:    t.number("logins-per-hour", 20, 1, 1_000_000),
		PublishPerSecond: t.number("publish-per-second", 10, 1, 1_000_000),
	}
	if t.err != nil {
		return nil, t.err
	}
	config.LookupURL = *url
	for index, text := range rules {
		rule, err := parseRule(index, text)
		if err != nil {
			return nil, err
		}
		config.Rules = append(config.Rules, rule)
	}
	return config, nil
}

var actionWords = map[string]Actions{"publish": Publish, "subscribe": Subscribe, "retain": Retain, "will": Will}

func parseRule(index int, text json.RawMessage) (RuleTemplate, error) {
	t := table{at: fmt.Sprintf("rules.%d.", index)}
	if json.Unmarshal(text, &t.keys) != nil {
		return RuleTemplate{}, fmt.Errorf("rules.%d: not a table", index)
	}
	t.only("role", "effect", "actions", "filter", "max-qos")
	rule := RuleTemplate{Role: t.text("role"), MaxQoS: t.number("max-qos", 1, 0, 2)}
	if effect := t.text("effect"); effect != nil {
		switch *effect {
		case "allow":
		case "deny":
			rule.Effect = Deny
		default:
			t.fail("effect", "neither allow nor deny")
		}
	}
	var words []string
	// What is no list of texts has no actions.
	_ = json.Unmarshal(t.keys["actions"], &words)
	for _, word := range words {
		rule.Actions |= actionWords[word]
	}
	if len(words) == 0 || bits.OnesCount8(uint8(rule.Actions)) != len(words) {
		t.fail("actions", "not a list of publish, subscribe, retain and will")
	}
	if filter := t.text("filter"); filter == nil {
		t.fail("filter", "needed")
	} else {
		rule.Filter = *filter
		left := strings.NewReplacer("{tenant}", "", "{site}", "", "{badge}", "").Replace(*filter)
		if *filter == "" || strings.ContainsAny(left, "{}") {
			t.fail("filter", "empty, or with a placeholder that is not {tenant}, {site} or {badge}")
		}
	}
	return rule, t.err
}

func (t *table) fail(key, why string) {
	if t.err == nil {
		t.err = fmt.Errorf("%s%s: %s", t.at, key, why)
	}
}

func (t *table) only(known ...string) {
	for _, key := range slices.Sorted(maps.Keys(t.keys)) {
		if !slices.Contains(known, key) {
			t.fail(key, "there is no such key")
		}
	}
}

func (t *table) text(key string) *string {
	var text *string
	if value, found := t.keys[key]; found && (json.Unmarshal(value, &text) != nil || text == nil) {
		t.fail(key, "not a text")
		return new(string)
	}
	return text
}

func (t *table) number(key string, otherwise, least, most uint64) uint64 {
	number := otherwise
	if value, found := t.keys[key]; found && json.Unmarshal(value, &number) != nil || number < least || number > most {
		t.fail(key, fmt.Sprintf("not a whole number from %d to %d", least, most))
	}
	return number
}
