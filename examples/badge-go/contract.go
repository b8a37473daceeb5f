// The contract with the gateway, as far as this policy needs it: Go types, and how they cross the boundary.
//
// The canonical ABI lays records out as Go lays out structs, if pointers and lengths are 32 bits wide: so there is a struct for each
// record below (`wire…`), and no offset is counted by hand. What is handed to the gateway is kept from the garbage collector until it
// was read. `wit-bindgen go` generates the same, with a module to download; here everything is in sight.
package main

import (
	"errors"
	"fmt"
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

// Response of an HTTP server.
type Response struct {
	Status uint16
	Body   []byte
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
	if err := selfTest(); err != nil {
		result.failed, result.why = true, lowerText(err.Error())
	}
	return unsafe.Pointer(keep(result))
}

//go:wasmexport cabi_post_portcullis:policy/descriptor@0.1.0#self-test
func postSelfTest(unsafe.Pointer) { release() }

// --- imports ---

//go:wasmimport portcullis:policy/clock@0.1.0 now
func now() uint64

//go:wasmimport portcullis:policy/clock@0.1.0 remaining-ms
func remainingMs() uint32

//go:wasmimport portcullis:policy/log@0.1.0 write
func logWrite(level uint32, message unsafe.Pointer, length uint32)

//go:wasmimport portcullis:policy/config@0.1.0 json
func importJSON(result unsafe.Pointer)

//go:wasmimport portcullis:policy/store@0.1.0 get
func importGet(key unsafe.Pointer, keyLength uint32, result unsafe.Pointer)

//go:wasmimport portcullis:policy/store@0.1.0 set
func importSet(key unsafe.Pointer, keyLength uint32, value unsafe.Pointer, length, hasTTL, ttl uint32, result unsafe.Pointer)

//go:wasmimport portcullis:policy/store@0.1.0 increment
func importIncrement(key unsafe.Pointer, keyLength uint32, delta int64, hasTTL, ttl uint32, result unsafe.Pointer)

//go:wasmimport portcullis:policy/http-client@0.1.0 send
func importSend(method unsafe.Pointer, methodLength uint32, url unsafe.Pointer, urlLength uint32, headers unsafe.Pointer,
	headersLength uint32, body unsafe.Pointer, bodyLength, hasTimeout, timeout uint32, result unsafe.Pointer)

func pointer(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

func warn(line string) { logWrite(1, pointer(line), uint32(len(line))) }

func configJSON() string {
	var result wireList
	importJSON(unsafe.Pointer(&result))
	return result.text()
}

// storeError is the variant `error` of the store.
type storeError struct {
	tag  uint8
	text wireList
}

func (e storeError) lift() error {
	if e.tag == 0 {
		return errors.New("the storage is full")
	}
	return errors.New(e.text.text())
}

func storeGet(key string) (value []byte, found bool, err error) {
	var result struct {
		failed bool
		place  storeError // or an option, which looks the same
	}
	importGet(pointer(key), uint32(len(key)), unsafe.Pointer(&result))
	if result.failed {
		return nil, false, result.place.lift()
	}
	if result.place.tag == 0 {
		return nil, false, nil
	}
	return result.place.text.octets(), true, nil
}

func storeSet(key string, value []byte, ttl uint32) error {
	var result struct {
		failed bool
		error  storeError
	}
	importSet(pointer(key), uint32(len(key)), unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), 1, ttl, unsafe.Pointer(&result))
	if result.failed {
		return result.error.lift()
	}
	return nil
}

func storeIncrement(key string, delta int64, ttl uint32) (int64, error) {
	// The sum, or an error, which takes more room.
	var result struct {
		failed bool
		place  [2]int64
	}
	importIncrement(pointer(key), uint32(len(key)), delta, 1, ttl, unsafe.Pointer(&result))
	if result.failed {
		return 0, (*storeError)(unsafe.Pointer(&result.place)).lift()
	}
	return result.place[0], nil
}

func httpGet(url string, headers [][2]string, timeout uint32) (*Response, error) {
	// A response, or an error whose number has 64 bits: both begin at the same place.
	var result struct {
		failed   bool
		_        [7]byte
		response struct {
			status        uint16
			headers, body wireList
		}
	}
	const method = "GET"
	fields := lowerPairs(headers)
	importSend(pointer(method), uint32(len(method)), pointer(url), uint32(len(url)), unsafe.Pointer(uintptr(fields.pointer)),
		fields.length, nil, 0, 1, timeout, unsafe.Pointer(&result))
	if result.failed {
		failure := (*struct {
			tag  uint8
			_    [7]byte
			text wireList
		})(unsafe.Pointer(&result.response))
		switch failure.tag {
		case 0:
			return nil, fmt.Errorf("%s is not among `allow.http`", failure.text.text())
		case 1:
			return nil, errors.New("the request is invalid")
		case 2:
			return nil, errors.New("no connection")
		case 3:
			return nil, errors.New("no answer in time")
		case 4:
			return nil, errors.New("its answer is too large")
		}
		return nil, errors.New("the request failed")
	}
	return &Response{result.response.status, result.response.body.octets()}, nil
}
