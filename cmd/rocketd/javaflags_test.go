package main

import (
	"reflect"
	"strings"
	"testing"
)

// Every spelling that Java's option parser knows means the same.
func TestParseJavaFlags(t *testing.T) {
	for args, want := range map[string]javaFlags{
		"":                            {},
		"-c a.conf":                   {configFile: "a.conf"},
		"-ca.conf":                    {configFile: "a.conf"},
		"-c=a.conf":                   {configFile: "a.conf"},
		"--configFile a.conf":         {configFile: "a.conf"},
		"--configFile=a.conf":         {configFile: "a.conf"},
		"-n a:1;b:2 -p":               {namesrvAddr: "a:1;b:2", printAll: true},
		"--namesrvAddr=a:1":           {namesrvAddr: "a:1"},
		"-m -h":                       {printImportant: true, help: true},
		"--printConfigItem --help":    {printAll: true, help: true},
		"--brokerName x --brokerId=0": {keys: []keyValue{{"brokerName", "x"}, {"brokerId", "0"}}},
		"--brokerName=":               {keys: []keyValue{{"brokerName", ""}}},
		"--brokerName -1":             {keys: []keyValue{{"brokerName", "-1"}}},
	} {
		got, err := parseJavaFlags(strings.Fields(args), true)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%q: %+v, %v; want %+v", args, got, err, want)
		}
	}
}

// What cannot be understood is refused, and the option is named.
func TestParseJavaFlags_Refused(t *testing.T) {
	for args, want := range map[string]string{
		"-x": "-x", "stray": "stray", "-c": "-c", "--brokerName": "--brokerName", "-": "-", "--": "--",
		"--help=yes": "--help", "-px": "-px", "--enable-proxy": "no proxy",
	} {
		if _, err := parseJavaFlags(strings.Fields(args), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want one with %q", args, err, want)
		}
	}
	if _, err := parseJavaFlags([]string{"-m"}, false); err == nil {
		t.Error("a NameServer takes -m")
	}
}
