// Admits the devices of a site: the user name is the site, the password its code. contract.go and imports.go speak to the gateway.
package main

import (
	"crypto/subtle"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed config.schema.json
var schema string

func describe() Description {
	return Description{
		Name:         "NAME",
		Version:      "0.1.0",
		Summary:      "Admits the devices of a site with the code of the site.",
		Schemes:      []string{"site"},
		ConfigSchema: schema,
	}
}

// selfTest is called with the real configuration before the policy goes live.
func selfTest() error {
	if configured("sites.") == 0 {
		return fmt.Errorf("the configuration names no `sites`")
	}
	return nil
}

// authenticate gives a grant, a *Denial for an error, or neither if the credentials are of another scheme.
func authenticate(credentials Credentials) (*Grant, error) {
	if credentials.Method != nil || credentials.Username == nil {
		return nil, nil
	}
	site, device := *credentials.Username, credentials.ClientID
	code := config("sites." + site)
	if code == nil {
		return nil, nil
	}
	if subtle.ConstantTimeCompare([]byte(*code), credentials.Password) != 1 {
		return nil, &Denial{Reason: BadCredentials, Detail: "not the code of the site " + site}
	}
	// What a client chose goes into a rule only if it is one level of a topic.
	if device == "" || strings.ContainsAny(device, "+#/\x00") || strings.HasPrefix(device, "$") {
		detail := fmt.Sprintf("the client identifier %q is no level of a topic", device)
		return nil, &Denial{Reason: ClientIDNotValid, Detail: detail}
	}
	return &Grant{
		Identity: Identity{Scheme: "site", Subject: device, Tenant: site},
		Rules:    []Rule{{Effect: Allow, Actions: Publish | Subscribe, Filter: site + "/" + device + "/#", MaxQoS: 2}},
	}, nil
}

// A reactor: the gateway calls what contract.go exports.
func main() {}
