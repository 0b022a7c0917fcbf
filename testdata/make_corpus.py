"""Writes the corpus of the fuzz targets: small inputs, each of which makes a parser do something
that the others do not.

    python make_corpus.py [--check]

With `--check` nothing is written, and a difference is an error.
"""

import pathlib
import sys

CORPUS = pathlib.Path(__file__).parent / "corpus"

NDJSON = {
    "plain": b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n{"a":3,"b":null}\n',
    "nested": b'{"hq":{"lat":1.5,"city":"Oslo"},"l":[1,2,{"k":[]}]}\n{"hq":null,"l":[]}\n{"hq":{},"l":[null]}\n',
    "late_key_and_type": b'{"a":1}\n{"a":2}\n{"a":2.5,"late":true}\n{"a":"text"}\n{"late":[1]}\n',
    "numbers": b"\n".join(
        b'{"n":%s}' % n
        for n in b"0 -0 1 -1 1.5 1e5 1E-7 9007199254740993 9223372036854775808 -9223372036854775808 1e400"
        b" 12345678901234567890123456789012345678901 0.1000000000000000055".split()
    ),
    "escapes": rb'{"s":"\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\ude00"}' + b"\n" + rb'{"s\u0061":"\\u0041","s":"a\\"}' + b"\n",
    "bad_escapes": rb'{"s":"\ud800"}' + b"\n" + rb'{"s":"\x"}' + b"\n" + rb'{"s":"\u12"}' + b"\n" + rb'{"s":"\ud83d\u0041"}' + b"\n",
    "cut_lines": b'{"a":1}\n{"a":\n{"a\n{\n{"a":"x\n{"a":[1,\n{"a":2}\n',
    "duplicate_keys": b'{"a":1,"a":2}\n{"a":{"b":1,"b":"x"},"a":null}\n{"\\u0061":1,"a":[2]}\n',
    "mixed_shapes": b'{"a":1}\n{"a":"1"}\n{"a":[1]}\n{"a":{"b":1}}\n{"a":true}\n{"a":null}\n',
    "blanks": b' \t{ "a" : [ 1 , 2 ] , "b" : { } }\r\n\r\n  \n{"a":[]}',
    "no_records": b'[1]\n"x"\n12\nnull\ntrue\n{} {}\n{},\n{"a":1}x\n',
    "mark": b'\xef\xbb\xbf{"a":1}\n\xef\xbb\xbf{"a":2}\n',
    "not_utf8": b'{"a":"\xff"}\n{"a":"\xc3\xa9"}\n{"a":"\xed\xa0\x80"}\n{"\xc3":1}\n{"a":1}\n',
    "control": b'{"a":"\x00"}\n{"a":"\x1f"}\n{"a":"\x7f"}\n{"a":"\t"}\n\x00\n{"a":1}\x00\n',
    "deep": b'{"a":' + b"[" * 127 + b"]" * 127 + b'}\n{"a":' + b"[" * 128 + b"]" * 128 + b"}\n" + b'{"a":' * 40 + b"1" + b"}" * 40 + b"\n",
    "long_strings": b'{"a":"' + b"x" * 100 + b'","b":"' + b"y" * 63 + b'\\n"}\n{"a":"' + "é".encode() * 40 + b'"}\n',
    "order_of_keys": b'{"a":1,"b":2,"c":3}\n{"c":3,"a":1}\n{"b":2,"c":{"x":1}}\n{}\n{"c":{"x":1,"y":2}}\n',
    "empty_containers": b'{"a":{},"b":[]}\n{"a":{"k":1},"b":[[]]}\n{"a":{},"b":[{}]}\n',
    "commas": b'{"a":1,}\n{,}\n{"a":[1,]}\n{"a":[,]}\n{"a":1,,"b":2}\n{"a":1 "b":2}\n',
    "words": b'{"a":nul}\n{"a":True}\n{"a":NaN}\n{"a":-Infinity}\n{"a":tru,"b":1}\n{"a":false}\n',
}

CSV = {
    "plain": b"a,b\n1,x\n2,y\n",
    "crlf_and_mark": b"\xef\xbb\xbfa,b\r\n1,x\r\n2,\"y\"\r\n",
    "quoted_breaks": b'a,b\n1,"two\nlines"\n2,"three\r\nlines\n"\n3,z\n',
    "quotes": b'a,b\n"say ""hi""",""""\n"","x"\n,\n',
    "literal_quotes": b'a,b\nx"y,z"\n1,"2"\n a,"b"\n',
    "unclosed": b'a,b\n1,"open\n2,x\n3,y\n',
    "unclosed_then_quoted": b'a,b\n1,"open\n2,"x"\n3,y\n4,"z"\n',
    "text_behind": b'a,b\n1,"x"y\n2,"x" \n3,z\n',
    "ragged": b"a,b\n1\n1,2,3\n1,2\n\n,\n",
    "one_column": b"a\n1\n\n\"\"\n2",
    "header_alone": b"a,b",
    "names": b'a,a,,"x\ny"\n1,2,3,4\n',
    "types": b"i,f,b,d,t\n1,1.5,true,9223372036854775808,007\n-2,1e-05,False,1,x\n,,,,\n",
    "becomes_text": b"a\n1\n2.5\n9007199254740993\nx\n",
    "not_utf8": b"a,b\n1,\xff\n2,\xc3\xa9\n",
    "carriage_returns": b"a,b\n1\r,2\r\n\"1\r\",\"\r\"\r\n3,4\r",
    "long": b"a,b\n" + b"x" * 70 + b',"' + b"y" * 130 + b'"\n1,2\n',
    "empty": b"",
    "blank_lines": b"\n\r\n\na,b\n\n1,2\n\n",
}

FRAME = {
    "lines": b"a\nbb\n\nccc",
    "crlf": b"a\r\nb\r\n\r\n",
    "mark": b"\xef\xbb\xbf\xef\xbb\xbfa\n",
    "half_mark": b"\xef\xbb",
    "quotes": b'"a\nb",c\n"d""e\n",f\n',
    "unclosed": b'a,"b\nc\nd\n',
    "unclosed_pairs": b'"a\n""\n""""\nb,"""\n',
    "long_line": b"x" * 100 + b"\ny\n",
    "long_quoted": b'1,"' + b"x\n" * 60 + b'"\n2,y\n',
    "long_then_quote": b"x" * 30 + b',"\n1\n2\n',
    "at_the_limit": b"1234567\n12345678\n1,\"345\n7\"\n\"23456\"\"\n",
    "delimiters": b'a\t"b\n",c\n,"\td\n"\n',
    "elements": b"{\r\r}\n\r{}\n",
}


def main():
    check = "--check" in sys.argv[1:]
    for target, files in {"ndjson": NDJSON, "csv": CSV, "frame": FRAME}.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            path = folder / name
            if check:
                if not path.exists() or path.read_bytes() != contents:
                    sys.exit(f"{path} is not what this script makes")
            else:
                path.write_bytes(contents)


main()
