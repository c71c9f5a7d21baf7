package config

// A File is one that a configuration is read from.
type File struct {
	Path string
	// Key names the file, as in ca_file; "" is a file with sections.
	Key string
}

// fileKind is the kind of keys that name a file.
const fileKind = "file"

// Files returns all files that the configuration consists of, each once: that which was
// loaded, those that it includes, and those that keys name.
func (c Config) Files() []File {
	seen := make(map[string]bool)
	var all []File
	add := func(f File) {
		if f.Path != "" && !seen[f.Path] {
			seen[f.Path] = true
			all = append(all, f)
		}
	}
	for _, path := range c.files {
		add(File{Path: path})
	}
	for _, sec := range c.sections {
		spec, _ := definition(sec.kind)
		for _, key := range spec.Keys {
			if key.Kind == fileKind && (key.Name != keyFileKey || c.Identities.Database != "") {
				add(File{fields{nil, spec, sec}.text(key.Name), key.Name})
			}
		}
	}
	return all
}
