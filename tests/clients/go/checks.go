package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A check of the server behind the client. It panics when it fails.
type check struct {
	name string
	run  func(context.Context, *clientv3.Client)
}

// runAll prints a line for each check that passed; the first that fails ends the program.
func runAll(etcd *clientv3.Client, checks []check) {
	for _, check := range checks {
		runOne(etcd, check)
		fmt.Println("ok:", check.name)
	}
}

func runOne(etcd *clientv3.Client, check check) {
	defer func() {
		if reason := recover(); reason != nil {
			fmt.Fprintln(os.Stderr, reason)
			debug.PrintStack()
			fmt.Println("FAILED:", check.name)
			os.Exit(1)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	check.run(ctx, etcd)
}

// must returns what a call answered, unless the call failed.
func must[T any](answer T, err error) T {
	no(err)
	return answer
}

// no fails if there is an error.
func no(err error) {
	if err != nil {
		panic(err)
	}
}

// equal fails unless both are the same, as they are printed.
func equal(found, wanted any) {
	if fmt.Sprint(found) != fmt.Sprint(wanted) {
		panic(fmt.Sprintf("found %v, wanted %v", found, wanted))
	}
}

// refused fails unless the error says this.
func refused(text string, err error) {
	if err == nil || !strings.Contains(err.Error(), text) {
		panic(fmt.Sprintf("found the error %v, wanted %q", err, text))
	}
}

// receive takes the next of a channel, but does not wait for ever.
func receive[T any](ctx context.Context, channel <-chan T) T {
	select {
	case item, open := <-channel:
		if !open {
			panic("the channel was closed")
		}
		return item
	case <-ctx.Done():
		panic("nothing came in time")
	}
}
