// The badge policy in Go. What it does is written in ../README.md; config.go reads the configuration, service.go asks the badge
// service and remembers its answers, contract.go and imports.go speak to the gateway, and this file decides.
package main

import (
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

//go:embed config.schema.json
var schema string

// The configuration does not change while an instance lives: it is read once.
var configured = sync.OnceValues(func() (*Config, error) { return parseConfig(configJSON()) })

func describe() Description {
	return Description{
		Name:         "badge",
		Version:      "1.0.0",
		Summary:      "Admits badge holders of the plant during their shifts.",
		Schemes:      []string{"badge"},
		ConfigSchema: schema,
	}
}

func selfTest() error {
	_, err := configured()
	return err
}

var (
	numberForm = regexp.MustCompile(`^[0-9]{1,12}$`)
	// What is no word of lower-case letters and digits never reaches a rule.
	clientForm = regexp.MustCompile(`^([a-z0-9]{1,32})-([a-z0-9]{1,32})-([0-9]+)$`)
)

// authenticate gives a grant, a *Denial for an error, or neither if the credentials are not ours.
func authenticate(credentials Credentials) (*Grant, error) {
	// Not ours: no badge number, no secret, or an authentication method of MQTT 5.
	if credentials.Method != nil || credentials.Username == nil || credentials.Password == nil {
		return nil, nil
	}
	number, secret := *credentials.Username, credentials.Password
	if !numberForm.MatchString(number) {
		return nil, nil
	}
	config, err := configured()
	if err != nil {
		return nil, &Denial{Reason: Unavailable, Detail: fmt.Sprintf("the configuration is wrong: %v", err)}
	}
	place := clientForm.FindStringSubmatch(credentials.ClientID)
	if place == nil || place[3] != number {
		return nil, &Denial{
			Reason:  ClientIDNotValid,
			Detail:  fmt.Sprintf("badge %s: the client identifier is not <tenant>-<site>-%s", number, number),
			Message: "the client identifier must be <tenant>-<site>-<badge>",
		}
	}
	tenant, site := place[1], place[2]

	now := now()
	badge, source, err := lookUp(config, number, now)
	switch {
	case errors.Is(err, errUnknown):
		return nil, &Denial{Reason: BadCredentials, Detail: fmt.Sprintf("badge %s is unknown", number)}
	case err != nil:
		detail := fmt.Sprintf("badge %s: the badge service cannot be asked: %v", number, err)
		return nil, &Denial{Reason: Unavailable, Detail: detail, RetryAfter: 5}
	}
	if err := countLogin(config, number, now); err != nil {
		return nil, err
	}
	if !badge.opensWith(secret) {
		return nil, &Denial{Reason: BadCredentials, Detail: fmt.Sprintf("badge %s: wrong PIN or token", number)}
	}
	if badge.Blocked {
		detail := fmt.Sprintf("badge %s is blocked", number)
		return nil, &Denial{Reason: Banned, Detail: detail, Message: "this badge is blocked"}
	}
	if badge.Tenant != tenant || badge.Site != site {
		detail := fmt.Sprintf("badge %s belongs to %s-%s, not to %s-%s", number, badge.Tenant, badge.Site, tenant, site)
		return nil, &Denial{Reason: ClientIDNotValid, Detail: detail}
	}
	ends, err := badge.endOfShift(number, now)
	if err != nil {
		return nil, err
	}
	rules := rulesFor(config, badge.Roles, strings.NewReplacer("{tenant}", tenant, "{site}", site, "{badge}", number))
	if !slices.ContainsFunc(rules, func(rule Rule) bool { return rule.Effect == Allow }) {
		detail := fmt.Sprintf("badge %s has no role that may do anything here", number)
		return nil, &Denial{Reason: NotAuthorized, Detail: detail}
	}
	return &Grant{
		Identity: Identity{
			Scheme:     "badge",
			Subject:    number,
			Tenant:     tenant,
			Roles:      badge.Roles,
			Attributes: [][2]string{{"site", site}, {"lookup", source}},
		},
		ExpiresAt: ends,
		Rules:     rules,
		Limits:    []Limit{{"publish-per-second", config.PublishPerSecond}},
	}, nil
}

// rulesFor are the rules of these roles. The values are words of letters and digits: none can widen a filter.
func rulesFor(config *Config, roles []string, values *strings.Replacer) []Rule {
	var rules []Rule
	for _, rule := range config.Rules {
		if rule.Role == nil || slices.Contains(roles, *rule.Role) {
			rules = append(rules, Rule{rule.Effect, rule.Actions, values.Replace(rule.Filter), QoS(rule.MaxQoS)})
		}
	}
	return rules
}

// countLogin counts one login more in this hour. Attempts with a wrong PIN count as well: there are only ten thousand PINs.
func countLogin(config *Config, number string, now uint64) error {
	hour := now / 3600
	count, err := storeIncrement(fmt.Sprintf("logins:%s:%d", number, hour), 1, 3600)
	if err != nil {
		return &Denial{Reason: Unavailable, Detail: fmt.Sprintf("badge %s: logins cannot be counted: %v", number, err)}
	}
	if uint64(count) > config.LoginsPerHour {
		return &Denial{
			Reason:     QuotaExceeded,
			Detail:     fmt.Sprintf("badge %s: more than %d logins in this hour", number, config.LoginsPerHour),
			Message:    "too many logins with this badge",
			RetryAfter: uint32((hour+1)*3600 - now),
		}
	}
	return nil
}

// opensWith tells whether the PIN or the badge's token is right. The service gives `salt$SHA-256(salt, secret)`, in hexadecimal.
func (b *Badge) opensWith(secret []byte) bool {
	right := 0
	for _, known := range b.Secrets {
		if salt, digest, found := strings.Cut(known, "$"); found {
			made := sha256.Sum256(append([]byte(salt), secret...))
			right |= subtle.ConstantTimeCompare([]byte(hex.EncodeToString(made[:])), []byte(digest))
		}
	}
	return right == 1
}

// endOfShift is when the shift ends that goes on now.
func (b *Badge) endOfShift(number string, now uint64) (uint64, error) {
	var ends, next uint64
	for _, shift := range b.Shifts {
		if *shift.From <= now && now < *shift.To {
			ends = max(ends, *shift.To)
		}
		if *shift.From > now && (next == 0 || *shift.From < next) {
			next = *shift.From
		}
	}
	if ends > 0 {
		return ends, nil
	}
	denial := &Denial{Reason: NotAuthorized, Detail: fmt.Sprintf("badge %s has no shift now", number), Message: "outside of the shift"}
	if next > 0 {
		denial.RetryAfter = uint32(next - now)
	}
	return 0, denial
}

// A reactor: the gateway calls what contract.go exports.
func main() {}
