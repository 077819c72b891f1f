//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// peerKind is a real client with the settings it runs with.
type peerKind struct {
	name  string
	lacks []string // features that the library does not offer
	setup func() error
	run   func(namesrv string) (env, args []string)
}

func (k *peerKind) offers(feature string) bool { return !slices.Contains(k.lacks, feature) }

// peerKinds are the clients that the tests drive.
var peerKinds = []*peerKind{
	javaPeer("java5", "server", ""),
	lacking(javaPeer("java5-binary", "server", "-Drocketmq.serialize.type=ROCKETMQ"), "pop"), // its codes do not fit into an int16
	lacking(javaPeer("java4", "client4", ""), "serverbalance", "gather"),
	lacking(javaPeer("java4-binary", "client4", "-Drocketmq.serialize.type=ROCKETMQ"), "serverbalance", "gather"),
	goPeer,
	{
		name:  "node",
		lacks: []string{"sql", "oneway", "batch", "orderly", "pull", "litepull", "vip", "shard", "autocreate", "serverbalance", "request", "retry", "gather"},
		setup: sync.OnceValue(func() error {
			_, err := tool("peers/node", nil, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
			return err
		}),
		run: func(namesrv string) (env, args []string) {
			return nil, []string{"node", "peers/node/peer.js", namesrv}
		},
	},
}

func lacking(k *peerKind, features ...string) *peerKind {
	k.lacks = features
	return k
}

var goPeer = &peerKind{
	name:  "go",
	lacks: []string{"serverbalance", "gather"},
	setup: sync.OnceValue(func() error {
		_, err := tool("peers/go", []string{"CGO_ENABLED=0"}, "go", "build", "-o", filepath.Join(work, "gopeer"), ".")
		return err
	}),
	run: func(namesrv string) (env, args []string) {
		return nil, []string{filepath.Join(work, "gopeer"), namesrv}
	},
}

// litePeer is Java's gRPC client of lite topics; it is started with the address of a proxy.
var litePeer = &peerKind{
	name:  "java-grpc",
	setup: compileJava("grpc"),
	run: func(proxy string) (env, args []string) {
		return []string{"CLASSPATH_EXTRA=" + filepath.Join(work, "classes-grpc"), "JAVAMQ_JARS=grpc"}, []string{"./javamq", "run", "Lite", proxy}
	},
}

// javaPeer is peers/java compiled against one set of Java's jars.
func javaPeer(name, jars, opts string) *peerKind {
	return &peerKind{
		name:  name,
		setup: javaClasses[jars],
		run: func(namesrv string) (env, args []string) {
			return []string{"CLASSPATH_EXTRA=" + filepath.Join(work, "classes-"+jars), "JAVAMQ_OPTS=" + opts, "JAVAMQ_JARS=" + jars},
				[]string{"./javamq", "run", "Peer", namesrv}
		},
	}
}

// javaClasses compile peers/java against each set of jars.
var javaClasses = map[string]func() error{"server": compileJava("server"), "client4": compileJava("client4")}

func compileJava(jars string) func() error {
	source := "peers/java/Peer.java"
	if jars == "grpc" {
		source = "peers/java/Lite.java"
	}
	return sync.OnceValue(func() error {
		if _, err := javaTools(); err != nil {
			return err
		}
		if _, err := tool(".", nil, "./javamq", "fetch", jars); err != nil {
			return err
		}
		classpath, err := tool(".", nil, "./javamq", "classpath", "--jars", jars)
		if err != nil {
			return err
		}
		_, err = tool(".", nil, "javac", "-nowarn", "-cp", strings.TrimSpace(classpath), "-d", filepath.Join(work, "classes-"+jars), source)
		return err
	})
}

// javaTools says what is missing to run Java.
var javaTools = sync.OnceValues(func() (string, error) {
	for _, name := range []string{"java", "javac"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", errors.New("no JDK 17 or 21 (Debian: apt-get install openjdk-17-jdk-headless)")
		}
	}
	return tool(".", nil, "./javamq", "fetch", "server")
})

func needJava(t *testing.T) {
	t.Helper()
	if _, err := javaTools(); err != nil {
		missing(t, "Java's servers", err)
	}
}

// peer is a running client.
type peer struct {
	*process
	kind  *peerKind
	stdin io.WriteCloser

	mu      sync.Mutex // guards what follows
	id      int
	waiting map[string]chan url.Values
	msgs    []message // all that its consumers were given, in order
}

// message is one consumed message as a client reported it.
type message struct {
	consumer, topic, queue, keys, tags, sha string
	offset                                  int64
	popped                                  bool      // not pulled, if the client says
	attempt                                 int       // how often it had come before, if the client says
	at                                      time.Time // when it came
}

var peerCount atomic.Int32

// newPeer starts a client against a NameServer; it lives as long as the test.
func newPeer(t *testing.T, k *peerKind, namesrv string) *peer {
	t.Helper()
	if err := k.setup(); err != nil {
		missing(t, "peer "+k.name, err)
	}
	name := fmt.Sprintf("%s/peer-%s-%d", t.Name(), k.name, peerCount.Add(1))
	log, err := newLogFile(filepath.Join(work, "logs", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(work, "home", name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	env, args := k.run(namesrv)
	cmd := exec.Command(args[0], args[1:]...)
	// Maven's cache stays where it is; what clients write into a home goes to one of their own.
	cmd.Env = append(append(os.Environ(), "JAVAMQ_CACHE="+javaCache(), "JAVAMQ_DIR="+home, "HOME="+home), env...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{kind: k, waiting: map[string]chan url.Values{}}
	p.process = &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go p.listen(stdout, ready)
	if err := p.process.run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.process.kill)
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("%s ended (%v):\n%s", name, p.err, log.tail())
	case <-time.After(30 * time.Second):
		t.Fatalf("%s is not ready:\n%s", name, log.tail())
	}
	return p
}

func javaCache() string {
	if dir := os.Getenv("JAVAMQ_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/tmp"
	}
	return filepath.Join(dir, "rocketmq-java")
}

// listen reads what the client prints until its end.
func (p *peer) listen(stdout io.Reader, ready chan struct{}) {
	in := bufio.NewReaderSize(stdout, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		fields, isLine := strings.CutPrefix(strings.TrimSpace(line), "@")
		v, err := url.ParseQuery(fields)
		if !isLine || err != nil {
			p.log.Write([]byte(line))
			continue
		}
		switch v.Get("event") {
		case "ready":
			close(ready)
		case "msg":
			offset, _ := strconv.ParseInt(v.Get("offset"), 10, 64)
			attempt, _ := strconv.Atoi(v.Get("attempt"))
			p.mu.Lock()
			p.msgs = append(p.msgs, message{v.Get("consumer"), v.Get("topic"), v.Get("queue"), strings.TrimSpace(v.Get("keys")), v.Get("tags"), v.Get("sha"), offset, v.Get("popped") == "true", attempt, time.Now()})
			p.mu.Unlock()
		default:
			p.mu.Lock()
			c := p.waiting[v.Get("id")]
			delete(p.waiting, v.Get("id"))
			p.mu.Unlock()
			if c != nil {
				c <- v
			}
		}
	}
}

// try runs one command and returns the answer.
func (p *peer) try(fields ...string) (url.Values, error) {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	c := make(chan url.Values, 1)
	p.mu.Lock()
	p.id++
	id := strconv.Itoa(p.id)
	p.waiting[id] = c
	p.mu.Unlock()
	v.Set("id", id)
	if _, err := io.WriteString(p.stdin, v.Encode()+"\n"); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", p.name, err, p.log.tail())
	}
	select {
	case a := <-c:
		if a.Get("ok") != "true" {
			return nil, fmt.Errorf("%s: %s", p.name, a.Get("error"))
		}
		return a, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended (%w):\n%s", p.name, p.ended(), p.log.tail())
	case <-time.After(60 * time.Second):
		return nil, fmt.Errorf("%s did not answer %s in a minute:\n%s", p.name, v.Encode(), p.log.tail())
	}
}

// do runs one command that must succeed.
func (p *peer) do(t *testing.T, fields ...string) url.Values {
	t.Helper()
	a, err := p.try(fields...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// got returns what consumers whose names start with a prefix were given of a topic, in order.
func (p *peer) got(prefix, topic string) []message {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []message
	for _, m := range p.msgs {
		if m.topic == topic && strings.HasPrefix(m.consumer, prefix) {
			out = append(out, m)
		}
	}
	return out
}
