// What the policy calls of the gateway: an import for each function, and a function of Go around it. More of them are made in the
// same way; examples/badge-go of Portcullis has the store and HTTP.
package main

import "unsafe"

//go:wasmimport portcullis:policy/config@0.1.0 get
func importGet(key unsafe.Pointer, keyLength uint32, result unsafe.Pointer)

//go:wasmimport portcullis:policy/config@0.1.0 list-values
func importListValues(prefix unsafe.Pointer, prefixLength uint32, result unsafe.Pointer)

func pointer(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

// config gives one value of the policy's configuration. Nil is none.
func config(key string) *string {
	var result wireOption[wireList]
	importGet(pointer(key), uint32(len(key)), unsafe.Pointer(&result))
	return lift(result)
}

// configured tells how many values there are below a prefix.
func configured(prefix string) int {
	var result wireList
	importListValues(pointer(prefix), uint32(len(prefix)), unsafe.Pointer(&result))
	return int(result.length)
}
