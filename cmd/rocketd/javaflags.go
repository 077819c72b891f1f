package main

import (
	"fmt"
	"strings"
)

// javaFlags is a command line as Java's servers take it: a few options of their own, and any configuration key as a
// long option, "--brokerName a" or "--brokerName=a".
type javaFlags struct {
	help, printAll, printImportant bool
	configFile                     string
	namesrvAddr                    string
	keys                           []keyValue // in the order given
}

type keyValue struct{ key, value string }

// parseJavaFlags reads the arguments of a role. Source: Java ServerUtil.buildCommandlineOptions, BrokerStartup,
// NamesrvStartup; commons-cli accepts "-c FILE", "-cFILE", "-c=FILE", "--configFile FILE" and "--configFile=FILE".
func parseJavaFlags(args []string, important bool) (*javaFlags, error) {
	f := new(javaFlags)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, value, given := "", "", false
		switch {
		case strings.HasPrefix(arg, "--") && len(arg) > 2:
			name, value, given = strings.Cut(arg[2:], "=")
		case strings.HasPrefix(arg, "-") && len(arg) > 1 && arg != "--":
			short := map[string]string{"c": "configFile", "n": "namesrvAddr", "p": "printConfigItem", "m": "printImportantConfig", "h": "help"}
			if name = short[arg[1:2]]; name == "" {
				return nil, fmt.Errorf("unrecognized option: %s", arg)
			}
			if rest := arg[2:]; rest != "" {
				value, given = strings.TrimPrefix(rest, "="), true
			}
		default:
			return nil, fmt.Errorf("unexpected argument: %s", arg)
		}
		var flag *bool
		switch name {
		case "help":
			flag = &f.help
		case "printConfigItem":
			flag = &f.printAll
		case "printImportantConfig":
			if !important {
				return nil, fmt.Errorf("unrecognized option: %s", arg)
			}
			flag = &f.printImportant
		case "enable-proxy":
			return nil, fmt.Errorf("%s: this program has no proxy", arg)
		}
		if flag != nil {
			if given {
				return nil, fmt.Errorf("option takes no value: %s", arg)
			}
			*flag = true
			continue
		}
		if !given {
			if len(args) == 0 {
				return nil, fmt.Errorf("missing argument for option: %s", arg)
			}
			value, args = args[0], args[1:]
		}
		switch name {
		case "configFile":
			f.configFile = value
		case "namesrvAddr":
			f.namesrvAddr = value
		default:
			f.keys = append(f.keys, keyValue{name, value})
		}
	}
	return f, nil
}

// javaUsage is what -h prints.
func javaUsage(program string, important bool) string {
	m, line := "", ""
	if important {
		m, line = " [-m]", " -m,--printImportantConfig   Print important config item\n"
	}
	return "usage: " + program + " [-c <arg>] [-h]" + m + " [-n <arg>] [-p] [--KEY <arg> ...]\n" +
		" -c,--configFile <arg>       Config properties file\n" +
		" -h,--help                   Print help\n" + line +
		" -n,--namesrvAddr <arg>      Name server address list, eg: '192.168.0.1:9876;192.168.0.2:9876'\n" +
		" -p,--printConfigItem        Print all config items\n" +
		" --KEY <arg>                 Set a configuration key, whatever the file says\n"
}
