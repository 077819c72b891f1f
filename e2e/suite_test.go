//go:build e2e

package e2e

import (
	"archive/zip"
	"bufio"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestSuite runs the integration tests of the Java project, as they are published, against a NameServer and brokers that
// are other processes; suite/README.md says how. At the end it prints what passed. What stands in suite/left-out.tsv does not
// run, or may fail.
func TestSuite(t *testing.T) {
	if os.Getenv("E2E_SUITE") == "" {
		t.Skip("Java's own integration tests take half an hour: make test-suite")
	}
	needJava(t)
	classes, err := suiteClasses()
	if err != nil {
		missing(t, "Java's integration tests", err)
	}
	left := leftOut(t)
	for key := range left {
		class, _, _ := strings.Cut(key, ".")
		if !slices.ContainsFunc(classes, func(full string) bool { return shortName(full) == class }) {
			t.Errorf("suite/left-out.tsv names %s, and there is no such class", key)
		}
	}
	var results suiteResults
	t.Cleanup(func() { results.print(t, left) })
	for _, class := range classes {
		if left[shortName(class)] != "" {
			continue
		}
		t.Run(shortName(class), func(t *testing.T) {
			t.Parallel() // they wait most of the time
			results.add(shortName(class), runClass(t, class, left))
		})
	}
}

// suiteClasses compiles the runner and lists the classes of tests in Java's jar.
func suiteClasses() ([]string, error) {
	lib, err := tool(".", nil, "./javamq", "fetch", "suite")
	if err != nil {
		return nil, err
	}
	lib = lib[strings.LastIndex(strings.TrimSpace(lib), "\n")+1:]
	lib = strings.TrimSpace(lib)
	sources, err := filepath.Glob("suite/*.java")
	if err != nil {
		return nil, err
	}
	if _, err := tool(".", nil, "javac", append([]string{"-nowarn", "-XDignore.symbol.file", "-cp", lib + "/*", "-d", filepath.Join(work, "classes-suite")}, sources...)...); err != nil {
		return nil, err
	}
	jars, err := filepath.Glob(lib + "/rocketmq-test-*-tests.jar")
	if err != nil || len(jars) != 1 {
		return nil, fmt.Errorf("%d test jars in %s", len(jars), lib)
	}
	jar, err := zip.OpenReader(jars[0])
	if err != nil {
		return nil, err
	}
	defer jar.Close()
	var classes []string
	for _, f := range jar.File {
		name := strings.TrimSuffix(f.Name, ".class")
		if !strings.Contains(name, "$") && (strings.HasSuffix(name, "IT") || strings.HasSuffix(name, "Test")) && !strings.HasSuffix(name, "BaseIT") {
			classes = append(classes, strings.ReplaceAll(name, "/", "."))
		}
	}
	slices.Sort(classes)
	return classes, nil
}

func shortName(class string) string {
	return class[strings.LastIndex(class, ".")+1:]
}

// leftOut reads suite/left-out.tsv: a class, or a class and a method, and why it is left out.
func leftOut(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("suite/left-out.tsv")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, why, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && !strings.HasPrefix(line, "#") {
			left[key] = why
		}
	}
	return left
}

// suiteResult is how one test of a class ended.
type suiteResult struct {
	test, result, error string
	ms                  string
}

// runClass runs one class in a JVM of its own, with servers of its own.
func runClass(t *testing.T, class string, left map[string]string) []suiteResult {
	t.Helper()
	args := []string{"run", "Suite", class}
	for key := range left {
		if of, method, ok := strings.Cut(key, "."); ok && of == shortName(class) {
			args = append(args, method)
		}
	}
	dir := filepath.Join(work, "suite", shortName(class))
	namesrv, broker := program(t)+" namesrv", program(t)+" broker"
	if underTest() == java {
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		run := here + "/javamq run --jars server --dir @DIR@ --heap %d org.apache.rocketmq.%s"
		namesrv, broker = fmt.Sprintf(run, 128, "namesrv.NamesrvStartup"), fmt.Sprintf(run, 512, "broker.BrokerStartup")
	}
	log, err := newLogFile(filepath.Join(work, "logs", t.Name()+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("./javamq", args...)
	cmd.Env = append(os.Environ(), "JAVAMQ_JARS=suite", "JAVAMQ_DIR="+dir, "CLASSPATH_EXTRA="+filepath.Join(work, "classes-suite"),
		fmt.Sprintf(`JDK_JAVA_OPTIONS=-Doutside.dir=%s "-Doutside.namesrv=%s" "-Doutside.broker=%s"`, dir, namesrv, broker))
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Minute, func() { cmd.Process.Signal(syscall.SIGQUIT); time.Sleep(time.Second); cmd.Process.Kill() })
	defer limit.Stop()
	var results []suiteResult
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields, isResult := strings.CutPrefix(lines.Text(), "@")
		v, err := url.ParseQuery(fields)
		if !isResult || err != nil {
			log.Write([]byte(lines.Text() + "\n"))
			continue
		}
		r := suiteResult{v.Get("test"), v.Get("result"), v.Get("error"), v.Get("ms")}
		results = append(results, r)
		if r.result == "fail" {
			t.Errorf("%s.%s: %s", shortName(class), r.test, r.error[:min(len(r.error), 1500)])
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s ended: %v\n%s", class, err, log.tail())
		results = append(results, suiteResult{"(class)", "fail", err.Error(), "0"})
	}
	if os.Getenv("E2E_KEEP") == "" {
		os.RemoveAll(dir)
	}
	return results
}

// suiteResults collects what the classes did.
type suiteResults struct {
	mu      sync.Mutex // guards what follows
	byClass map[string][]suiteResult
}

func (s *suiteResults) add(class string, results []suiteResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byClass == nil {
		s.byClass = map[string][]suiteResult{}
	}
	s.byClass[class] = results
}

// print writes the pass list.
func (s *suiteResults) print(t *testing.T, left map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed, failed := 0, 0
	for _, class := range slices.Sorted(maps.Keys(s.byClass)) {
		ok, of := 0, 0
		var bad []string
		for _, r := range s.byClass[class] {
			switch r.result {
			case "pass":
				ok++
				of++
			case "fail":
				of++
				bad = append(bad, r.test)
			}
		}
		passed, failed = passed+ok, failed+of-ok
		fmt.Printf("%-45s %2d of %2d %s\n", class, ok, of, strings.Join(bad, " "))
	}
	for _, key := range slices.Sorted(maps.Keys(left)) {
		fmt.Printf("%-45s left out: %s\n", key, left[key])
	}
	fmt.Printf("Java's integration tests against %s: %d passed, %d failed, of %d classes\n", underTest(), passed, failed, len(s.byClass))
}
