// The badge service, and what is remembered of its answers.
//
// An entry of the store is `<seconds>\n<answer>`: when the service said it, and the JSON that it said; nothing after the line's end
// for a badge that it does not know. All languages write it alike, so that a swap keeps what is remembered.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Badge is what the service knows of a badge. It may say more, which is not for us.
type Badge struct {
	Tenant, Site   string
	Roles, Secrets []string
	Shifts         []Shift
	Blocked        bool
}

// Shift is working hours, in seconds since 1970.
type Shift struct{ From, To *uint64 }

var errUnknown = errors.New("the service does not know the badge")

// lookUp asks the store, then the service, then the store again if the service is away. It gives the badge and where its entry came
// from: `service`, `cache` or `stale`.
func lookUp(config *Config, number string, now uint64) (*Badge, string, error) {
	key := "badge:" + number
	answer, age, found := recall(key, now)
	if found && answer == "" && age < config.Unknown {
		return nil, "", errUnknown
	}
	remembered := understood(answer)
	if remembered != nil && age < config.Fresh {
		return remembered, "cache", nil
	}
	badge, answer, err := ask(config, number)
	switch {
	case err == nil:
		remember(key, fmt.Sprintf("%d\n%s", now, answer), max(config.Stale, config.Fresh))
		return badge, "service", nil
	case errors.Is(err, errUnknown):
		remember(key, fmt.Sprintf("%d\n", now), config.Unknown)
		return nil, "", err
	case remembered != nil && age < config.Stale:
		logWarning(fmt.Sprintf("badge %s: from memory, the badge service cannot be asked: %v", number, err))
		return remembered, "stale", nil
	}
	return nil, "", err
}

func recall(key string, now uint64) (answer string, age uint64, found bool) {
	entry, _, err := storeGet(key)
	if err != nil {
		return "", 0, false
	}
	written, answer, found := strings.Cut(string(entry), "\n")
	saidAt, err := strconv.ParseUint(written, 10, 64)
	if err != nil {
		return "", 0, false
	}
	if saidAt > now {
		// A clock that was set back makes an entry old, not young.
		return answer, math.MaxUint64, found
	}
	return answer, now - saidAt, found
}

// ask makes one request.
func ask(config *Config, number string) (*Badge, string, error) {
	response, err := httpGet(config.LookupURL+number, [][2]string{{"accept", "application/json"}},
		// Half of what is left, so that there is time for an answer from memory.
		remainingMs()/2)
	if err != nil {
		return nil, "", err
	}
	switch response.Status {
	case 200:
		answer := string(response.Body)
		if badge := understood(answer); badge != nil {
			return badge, answer, nil
		}
		return nil, "", errors.New("its answer makes no sense")
	case 404:
		return nil, "", errUnknown
	}
	return nil, "", fmt.Errorf("it answers %d", response.Status)
}

// understood is the badge, if that is what the text says.
func understood(text string) *Badge {
	// What is needed is a pointer here: JSON that lacks it is told from JSON that has nothing in it.
	var said struct {
		Tenant  *string   `json:"tenant"`
		Site    *string   `json:"site"`
		Roles   *[]string `json:"roles"`
		Secrets *[]string `json:"secrets"`
		Shifts  *[]Shift  `json:"shifts"`
		Blocked bool      `json:"blocked"`
	}
	if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &said) != nil {
		return nil
	}
	if said.Tenant == nil || said.Site == nil || said.Roles == nil || said.Secrets == nil || said.Shifts == nil {
		return nil
	}
	half := func(shift Shift) bool { return shift.From == nil || shift.To == nil }
	if slices.ContainsFunc(*said.Shifts, half) {
		return nil
	}
	return &Badge{*said.Tenant, *said.Site, *said.Roles, *said.Secrets, *said.Shifts, said.Blocked}
}

// remember keeps an entry. What cannot be remembered is asked again: no reason to refuse anybody.
func remember(key, entry string, seconds uint64) {
	// A time to live of 0 is none; nothing is remembered then.
	if seconds == 0 {
		return
	}
	if err := storeSet(key, []byte(entry), uint32(seconds)); err != nil {
		logWarning(fmt.Sprintf("%s is not remembered: %v", key, err))
	}
}
