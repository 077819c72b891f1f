package settings

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Machine is what defaults depend on outside of any file: the host, the home folders, the environment.
type Machine struct {
	Home         string // "user.home" of Java: the root of store/, namesrv/, logs/
	RocketmqHome string // ROCKETMQ_HOME, or the folder above the program's
	HostName     string // default of brokerName
	IP           string // default of brokerIP1 and brokerIP2
	Processors   int
	Properties   map[string]string // Java system properties, from JAVA_OPT and JAVA_OPT_EXT
	NamesrvAddr  string            // rocketmq.namesrv.addr, else NAMESRV_ADDR
	Zone         string            // rocketmq.zone, else ROCKETMQ_ZONE
}

// ThisMachine looks at the process's surroundings. getenv is os.Getenv outside of tests. Java's servers refuse to
// start without ROCKETMQ_HOME; we need nothing from there and do not.
func ThisMachine(getenv func(string) string) Machine {
	m := Machine{Processors: runtime.NumCPU(), IP: localIP(), Properties: JavaProperties(getenv("JAVA_OPT") + " " + getenv("JAVA_OPT_EXT"))}
	m.Home = first(m.Properties["user.home"], getenv("HOME"), ".")
	m.RocketmqHome = first(m.Properties["rocketmq.home.dir"], getenv("ROCKETMQ_HOME"), programHome())
	m.NamesrvAddr = first(m.Properties["rocketmq.namesrv.addr"], getenv("NAMESRV_ADDR"))
	m.Zone = strings.TrimSpace(first(m.Properties["rocketmq.zone"], getenv("ROCKETMQ_ZONE")))
	host, _ := os.Hostname()
	m.HostName = first(host, "DEFAULT_BROKER")
	return m
}

// JavaProperties finds every -Dkey=value in options as one would give them to java; everything else is not for
// us. Double and single quotes hold a value together.
func JavaProperties(options string) map[string]string {
	props := map[string]string{}
	for _, word := range words(options) {
		if def, ok := strings.CutPrefix(word, "-D"); ok && def != "" {
			k, v, _ := strings.Cut(def, "=")
			props[k] = v
		}
	}
	return props
}

// words splits a command line at blanks outside of quotes.
func words(s string) []string {
	var all []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if inWord {
				all = append(all, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		all = append(all, word.String())
	}
	return all
}

// expand replaces the two variables that the defaults of Java are written with.
func (m Machine) expand(v string) string {
	if !strings.Contains(v, "${") {
		return v
	}
	return strings.NewReplacer("${user.home}", m.Home, "${ROCKETMQ_HOME}", m.RocketmqHome).Replace(v)
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func programHome() string {
	exe, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(filepath.Dir(exe))
}

// localIP is the address that this host is registered under unless brokerIP1 says otherwise: the first IPv4
// address of an interface that is up, with those in 192.168/16 only for want of another, else loopback.
// Source: Java NetworkUtil.getLocalAddress.
func localIP() string {
	private := ""
	ifaces, _ := net.Interfaces()
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 || strings.HasPrefix(i.Name, "docker") || strings.HasPrefix(i.Name, "br-") {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok || n.IP.To4() == nil || n.IP.IsLoopback() || n.IP.IsUnspecified() {
				continue
			}
			ip := n.IP.To4().String()
			if !strings.HasPrefix(ip, "192.168.") {
				return ip
			}
			private = first(private, ip)
		}
	}
	return first(private, "127.0.0.1")
}
