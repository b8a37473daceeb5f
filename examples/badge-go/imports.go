// What the policy calls of the gateway: an import for each function, and a function of Go around it.
package main

import (
	"errors"
	"fmt"
	"unsafe"
)

// Response of an HTTP server.
type Response struct {
	Status uint16
	Body   []byte
}

//go:wasmimport portcullis:policy/clock@0.1.0 now
func now() uint64

//go:wasmimport portcullis:policy/clock@0.1.0 remaining-ms
func remainingMs() uint32

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
