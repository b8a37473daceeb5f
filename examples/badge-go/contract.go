// The contract with the gateway, as far as most policies need it: Go types, and how they cross the boundary. The functions
// of the gateway that a policy calls are in imports.go.
//
// The canonical ABI lays records out as Go lays out structs, if pointers and lengths are 32 bits wide: so there is a struct for each
// record below (`wire…`), and no offset is counted by hand. What is handed to the gateway is kept from the garbage collector until it
// was read. `wit-bindgen go` generates the same, with a module to download; here everything is in sight.
package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"
)

// Credentials of a client. Nil is none.
type Credentials struct {
	ClientID         string
	Username, Method *string
	Password         []byte
}

// Grant is what a client may do. Zero is none for what is optional.
type Grant struct {
	Identity  Identity
	ExpiresAt uint64
	Rules     []Rule
	Limits    []Limit
}

// Identity is who the client is.
type Identity struct {
	Scheme, Subject, Tenant string
	Roles                   []string
	Attributes              [][2]string
}

// Rule is a permission, or a prohibition.
type Rule struct {
	Effect  Effect
	Actions Actions
	Filter  string
	MaxQoS  QoS
}

// Limit bounds the session.
type Limit struct {
	Name  string
	Value uint64
}

type (
	Effect  uint8
	Actions uint8
	QoS     uint8
	Reason  uint8
)

const (
	Allow Effect = iota
	Deny
)

const (
	Publish Actions = 1 << iota
	Subscribe
	Retain
	Will
)

const (
	BadCredentials Reason = iota
	NotAuthorized
	ClientIDNotValid
	BadAuthenticationMethod
	Banned
	QuotaExceeded
	RateExceeded
	Unavailable
)

// Denial refuses a client. Zero is none for what is optional.
type Denial struct {
	Reason          Reason
	Detail, Message string
	RetryAfter      uint32
}

func (d *Denial) Error() string { return d.Detail }

// Description is what the policy says about itself.
type Description struct {
	Name, Version, Summary string
	Schemes                []string
	ConfigSchema           string
}

// --- memory ---

// kept is what the gateway may still read, or has written.
var kept []any

func keep[T any](value T) *T {
	pointer := &value
	kept = append(kept, pointer)
	return pointer
}

// The gateway asks for memory here before it writes a text or a list.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	// Words of 64 bits are aligned for every type of the contract.
	memory := make([]uint64, size/8+1)
	if old != nil {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&memory[0])), size), unsafe.Slice((*byte)(old), oldSize))
	}
	kept = append(kept, memory)
	return unsafe.Pointer(&memory[0])
}

func release() {
	clear(kept)
	kept = kept[:0]
}

// wireList is a list or a text in memory.
type wireList struct{ pointer, length uint32 }

type wireOption[T any] struct {
	some  bool
	value T
}

func address[T any](pointer *T) uint32 { return uint32(uintptr(unsafe.Pointer(pointer))) }

func lower[T any](items []T) wireList {
	kept = append(kept, items)
	return wireList{address(unsafe.SliceData(items)), uint32(len(items))}
}

func lowerText(text string) wireList {
	kept = append(kept, text)
	return wireList{address(unsafe.StringData(text)), uint32(len(text))}
}

func lowerTexts(texts []string) wireList {
	wire := make([]wireList, len(texts))
	for index, text := range texts {
		wire[index] = lowerText(text)
	}
	return lower(wire)
}

func lowerPairs(pairs [][2]string) wireList {
	wire := make([][2]wireList, len(pairs))
	for index, pair := range pairs {
		wire[index] = [2]wireList{lowerText(pair[0]), lowerText(pair[1])}
	}
	return lower(wire)
}

func lowerOption(text string) wireOption[wireList] {
	return wireOption[wireList]{text != "", lowerText(text)}
}

// Memory of the gateway's is copied: it is only there for the time of the call.
func (l wireList) text() string { return string(l.octets()) }

func (l wireList) octets() []byte {
	octets := make([]byte, l.length)
	copy(octets, unsafe.Slice((*byte)(unsafe.Pointer(uintptr(l.pointer))), l.length))
	return octets
}

func lift(option wireOption[wireList]) *string {
	if !option.some {
		return nil
	}
	text := option.value.text()
	return &text
}

// --- exports ---

type wireIdentity struct {
	scheme, subject   wireList
	tenant, actingFor wireOption[wireList]
	roles, attributes wireList
}

type wireLogin struct {
	connection struct {
		id, listener, protocol wireList
		protocolVersion        uint8
		transport, peerAddress wireList
		peerPort               uint16
		serverName             wireOption[wireList]
		identity               wireOption[wireIdentity]
	}
	credentials struct {
		clientID                         wireList
		username, password, method, data wireOption[wireList]
		userProperties                   wireList
	}
}

type wireRule struct {
	effect, actions uint8
	filter          wireList
	maxQoS          uint8
}

type wireLimit struct {
	name  wireList
	value uint64
}

type wireGrant struct {
	identity         wireIdentity
	expiresAt        wireOption[uint64]
	renewAfter       wireOption[uint32]
	clientID         wireOption[wireList]
	rules, limits    wireList
	dependsOn, state wireList
	data             wireOption[wireList]
	attributes       wireList
}

type wireDenial struct {
	reason          uint8
	detail          wireList
	message         wireOption[wireList]
	retryAfter      wireOption[uint32]
	serverReference wireOption[wireList]
	http            wireOption[struct {
		status        uint16
		headers, body wireList
	}]
}

// The cases of a variant share their place, which is aligned for the widest of them.
type wireAllow struct {
	tag   uint8
	grant wireGrant
}

type wireDeny struct {
	tag    uint8
	_      [7]byte
	denial wireDenial
}

//go:wasmexport portcullis:policy/authentication@0.1.0#authenticate
func exportAuthenticate(login unsafe.Pointer) unsafe.Pointer {
	given := &(*wireLogin)(login).credentials
	credentials := Credentials{
		ClientID: given.clientID.text(),
		Username: lift(given.username),
		Method:   lift(given.method),
	}
	if given.password.some {
		credentials.Password = given.password.value.octets()
	}
	release()
	defer lastWords()
	grant, err := authenticate(credentials)
	release()
	var denial *Denial
	switch {
	case errors.As(err, &denial):
		return unsafe.Pointer(keep(wireDeny{tag: 1, denial: denial.lower()}))
	case err != nil:
		panic(err)
	case grant == nil:
		return unsafe.Pointer(keep(wireDeny{tag: 2}))
	}
	return unsafe.Pointer(keep(wireAllow{grant: grant.lower()}))
}

//go:wasmexport cabi_post_portcullis:policy/authentication@0.1.0#authenticate
func postAuthenticate(unsafe.Pointer) { release() }

func (g *Grant) lower() wireGrant {
	rules := make([]wireRule, len(g.Rules))
	for index, rule := range g.Rules {
		rules[index] = wireRule{uint8(rule.Effect), uint8(rule.Actions), lowerText(rule.Filter), uint8(rule.MaxQoS)}
	}
	limits := make([]wireLimit, len(g.Limits))
	for index, limit := range g.Limits {
		limits[index] = wireLimit{lowerText(limit.Name), limit.Value}
	}
	return wireGrant{
		identity: wireIdentity{
			scheme:     lowerText(g.Identity.Scheme),
			subject:    lowerText(g.Identity.Subject),
			tenant:     lowerOption(g.Identity.Tenant),
			roles:      lowerTexts(g.Identity.Roles),
			attributes: lowerPairs(g.Identity.Attributes),
		},
		expiresAt: wireOption[uint64]{g.ExpiresAt != 0, g.ExpiresAt},
		rules:     lower(rules),
		limits:    lower(limits),
	}
}

func (d *Denial) lower() wireDenial {
	return wireDenial{
		reason:     uint8(d.Reason),
		detail:     lowerText(d.Detail),
		message:    lowerOption(d.Message),
		retryAfter: wireOption[uint32]{d.RetryAfter != 0, d.RetryAfter},
	}
}

//go:wasmexport portcullis:policy/descriptor@0.1.0#describe
func exportDescribe() unsafe.Pointer {
	defer lastWords()
	said := describe()
	return unsafe.Pointer(keep(struct{ name, version, summary, schemes, methods, configSchema wireList }{
		name: lowerText(said.Name), version: lowerText(said.Version), summary: lowerText(said.Summary),
		schemes: lowerTexts(said.Schemes), configSchema: lowerText(said.ConfigSchema),
	}))
}

//go:wasmexport cabi_post_portcullis:policy/descriptor@0.1.0#describe
func postDescribe(unsafe.Pointer) { release() }

//go:wasmexport portcullis:policy/descriptor@0.1.0#self-test
func exportSelfTest() unsafe.Pointer {
	var result struct {
		failed bool
		why    wireList
	}
	defer lastWords()
	if err := selfTest(); err != nil {
		result.failed, result.why = true, lowerText(err.Error())
	}
	return unsafe.Pointer(keep(result))
}

//go:wasmexport cabi_post_portcullis:policy/descriptor@0.1.0#self-test
func postSelfTest(unsafe.Pointer) { release() }

// --- the log ---

//go:wasmimport portcullis:policy/log@0.1.0 write
func importWrite(level uint32, message unsafe.Pointer, length uint32)

// logError writes a line to the gateway's log. The gateway shows what was logged last when a policy traps.
func logError(line string) { importWrite(0, pointer(line), uint32(len(line))) }

// logWarning writes a line about something that the policy can live with.
func logWarning(line string) { importWrite(1, pointer(line), uint32(len(line))) }

// lastWords logs a panic and where it came from, before it becomes a trap, which says nothing.
func lastWords() {
	why := recover()
	if why == nil {
		return
	}
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for frame, more := frames.Next(); more; frame, more = frames.Next() {
		if strings.HasPrefix(frame.Function, "main.") {
			logError(fmt.Sprintf("%v (%s, %s:%d)", why, frame.Function, filepath.Base(frame.File), frame.Line))
			break
		}
	}
	panic(why)
}
