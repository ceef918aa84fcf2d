// Pensée from Go, over the C interface, by cgo.
//
//	CGO_CFLAGS=-IHEADER_FOLDER CGO_LDFLAGS=-LLIBRARY_FOLDER go build ask.go
//	./ask MODEL "What is 12 + 30?"
package main

// #cgo LDFLAGS: -lpensee_c
// #include <pensee.h>
// #include <stdlib.h>
import "C"

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// Session is one conversation with a model, which it keeps alive. One goroutine at a time may use
// it, on whatever thread.
type Session struct{ handle *C.pensee_session }

// call runs a function that takes a place for an error last, and turns that error into Go's.
func call(function func(failure **C.pensee_error) C.pensee_status) error {
	var failure *C.pensee_error
	if function(&failure) == C.PENSEE_OK {
		return nil
	}
	defer C.pensee_error_destroy(failure)
	return errors.New(C.GoString(C.pensee_error_message(failure)))
}

// text copies what a getter lends. By its size: models can write NUL. A nil pointer, for want of
// memory, has size 0.
func text(getter func(size *C.size_t) *C.char) string {
	var size C.size_t
	bytes := getter(&size)
	return C.GoStringN(bytes, C.int(size))
}

// Open loads a model and begins a conversation with it. The caller closes it.
func Open(path string) (*Session, error) {
	if strings.IndexByte(path, 0) >= 0 { // C would take what stands before it
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EINVAL}
	}
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	var model *C.pensee_model
	err := call(func(failure **C.pensee_error) C.pensee_status {
		return C.pensee_model_load(cPath, nil, &model, failure)
	})
	if err != nil {
		return nil, err
	}
	defer C.pensee_model_destroy(model)
	session := &Session{}
	err = call(func(failure **C.pensee_error) C.pensee_status {
		return C.pensee_session_create(model, nil, &session.handle, failure)
	})
	return session, err
}

// Close frees the session; it may be called more than once.
func (s *Session) Close() {
	C.pensee_session_destroy(s.handle)
	s.handle = nil
}

// Start begins the reply to a question.
func (s *Session) Start(question string) error {
	cQuestion := C.CString(question)
	defer C.free(unsafe.Pointer(cQuestion))
	return call(func(failure **C.pensee_error) C.pensee_status {
		status := C.pensee_session_add_message(s.handle, C.PENSEE_ROLE_USER, cQuestion,
			C.size_t(len(question)), failure)
		if status != C.PENSEE_OK {
			return status
		}
		return C.pensee_session_start(s.handle, nil, failure)
	})
}

// Think runs to the end of the thought and returns it.
func (s *Session) Think() (string, error) {
	err := call(func(failure **C.pensee_error) C.pensee_status {
		return C.pensee_session_think(s.handle, failure)
	})
	return text(func(size *C.size_t) *C.char {
		return C.pensee_session_thought_text(s.handle, size)
	}), err
}

// Answer runs to the end of the reply and returns the answer.
func (s *Session) Answer() (string, error) {
	err := call(func(failure **C.pensee_error) C.pensee_status {
		return C.pensee_session_answer(s.handle, failure)
	})
	return text(func(size *C.size_t) *C.char {
		return C.pensee_session_answer_text(s.handle, size)
	}), err
}

func run(model, question string) error {
	session, err := Open(model)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.Start(question); err != nil {
		return err
	}
	thought, err := session.Think()
	if err != nil {
		return err
	}
	fmt.Println("Thought:\n" + thought)
	answer, err := session.Answer()
	if err != nil {
		return err
	}
	fmt.Println("Answer:\n" + answer)
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ask MODEL QUESTION")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
