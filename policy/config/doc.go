// Package config reads configuration files: text goes in, and one checked,
// immutable [Config] comes out, or every error with its file and line.
//
// # The format
//
// A file is UTF-8 text in lines, each of which is one of four things:
//
//	; a comment, or one that starts with #
//	[section], [section NAME] or [section LOGIN ADDRESS]
//	key = value
//	(nothing but blanks)
//
// Blanks at the beginning and the end of a line, and around the first =, don't
// count. Lines end with LF or CR LF; a byte order mark at the beginning is skipped. NAME
// is 1 to 64 of the characters A-Z a-z 0-9 . _ -, but in [sender ADDRESS] and [recipient
// ADDRESS] it is an address or @domain, and LOGIN is whatever a user logs in with.
//
// A value runs to the end of its line and means exactly what is written: in
// regular expressions and passwords, the characters ; # \ % : = " ' need no
// care. So there are no comments behind values, no lines that go on in the next
// one, no quotes, and no references to other values. A value that has to end
// with a blank can't be written; in an expression, write [ ] for it. For the
// same reason no value may start with ` or """: other readers of INI files take these
// for quotes.
//
// Lists have commas between their values. Booleans are yes and no; true and
// false, on and off are understood too. Every section, and in it every key, is
// written once; a key without value is an error, and the default holds for
// one that is not there.
//
// # Sections and keys
//
// [Schema] lists them. Whatever is not in it is an error, so that a typing
// error can't switch a rule off.
//
// # Several files
//
// The key include in the section [server] of the main file names others: one path,
// relative to the main file, with * ? [a-z] in the file name at will. Files are read in
// the order of their names, hidden ones are not. All of them together are one
// configuration: a section that is in two of them is an error. An included file can't
// include others.
//
// # How it is read
//
// There is no standard for INI files, and readers differ in comments, quotes, continued
// lines and inheritance. Each file is therefore read twice: by a scanner that
// knows the lines, and by ini.v1. Lines that the two take for different things
// are errors, and if ever they see different values, the file is refused.
package config
