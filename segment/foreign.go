package segment

// ForeignError says that something stands where a file or a directory of the program belongs, and is not that, or no
// longer. Nothing was done to it.
type ForeignError struct {
	Name    string // file or directory
	Problem string // what is wrong with it, behind the name
	Remedy  string // what to do
}

func (e *ForeignError) Error() string { return e.Name + " " + e.Problem + ": " + e.Remedy }
