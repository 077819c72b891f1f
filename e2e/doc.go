// Package e2e tests rocketd from the outside: real processes, real sockets, and real clients that nobody changed.
//
// The tests carry the build tag e2e, because they want a JDK, Maven and Node; `make test-e2e` runs them all, and
//
//	go test -tags e2e ./e2e -run 'TestClients/java4/tags' -v
//
// runs one scenario. What the tests ask for is told in variables of the environment:
//
//	E2E_SERVER=java    the same tests against Java's NameServer and broker, which is how a test is proved
//	E2E_ROCKETD=PATH   the program to test (default: built from this checkout)
//	E2E_ROUNDS=200     rounds of kill -9 (default 20), half of them with each flushDiskType
//	E2E_CUTS=200       power cuts with SYNC_FLUSH, and a fifth more with ASYNC_FLUSH (default 25)
//	E2E_CUT_DIR=DIR    keep the images of the disks whose power is cut there (default: in the folder of the run)
//	E2E_KEEP=DIR       keep logs and stores there (default: a folder that is removed)
//	CI=true            a peer whose toolchain is missing is a failure, not a line that says so
//
// The servers under test stand in server_test.go, the peers in peer_test.go and peers/README.md, and wire_test.go is a
// remoting client of its own that shares no code with the product. What a broker has is listed by inventory_test.go, and
// held against what the next broker shows of the same store in exchange_test.go.
package e2e
