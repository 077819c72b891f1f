package protocol

import "bytes"

// Language is the sender's language in a header. Source: Java LanguageCode.
type Language uint8

// The languages by their number in the binary form. A name or number that we do not know reads as LanguageOther.
const (
	LanguageJava Language = iota
	LanguageCPP
	LanguageDotNet
	LanguagePython
	LanguageDelphi
	LanguageErlang
	LanguageRuby
	LanguageOther
	LanguageHTTP
	LanguageGo
	LanguagePHP
	LanguageOMS
	LanguageRust
	LanguageNodeJS
)

var languageNames = [...]string{
	"JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS",
}

// String returns the name as it stands in a JSON header; bodies may hold no other names, because Java tools parse them.
func (l Language) String() string {
	if int(l) < len(languageNames) {
		return languageNames[l]
	}
	return languageNames[LanguageOther]
}

// MarshalText writes the name.
func (l Language) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a name in any case, or a number; it never fails.
func (l *Language) UnmarshalText(text []byte) error {
	*l = ParseLanguage(text)
	return nil
}

// ParseLanguage reads a name in any case or a decimal number. What is unknown becomes LanguageOther.
func ParseLanguage(text []byte) Language {
	switch string(text) { // the common ones without folding
	case "JAVA":
		return LanguageJava
	case "GO":
		return LanguageGo
	}
	if n, ok := parseInt(text); ok {
		return languageOf(n)
	}
	for i, name := range languageNames {
		if len(name) == len(text) && bytes.EqualFold([]byte(name), text) {
			return Language(i)
		}
	}
	return LanguageOther
}

func languageOf(n int64) Language {
	if n >= 0 && n < int64(len(languageNames)) {
		return Language(n)
	}
	return LanguageOther
}
