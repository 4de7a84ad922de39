#!/bin/sh
# Check the rules that keep the parts of the library apart.
#   layers.sh ROOT             check the tree at ROOT; prints each offence as file:line: rule
#   layers.sh --self-test DIR  plant one offence of each kind in DIR and see that each is found, and that clean code passes
#
# - A folder includes from itself and from those before it: base platform gpu tensor graph plan ops eager nn selftest io data train.
# - src/cli includes public headers and its own. Public headers include each other and the C standard library.
# - EGL and GBM are called in platform/ alone, GL in src/gpu alone (platform/ may ask what a context is), the C heap in
#   src/base/memory.c alone.
# - The library does not print, abort, exit or touch signals.
set -eu

check() {
    (cd "$1" && find include/esker platform src -name '*.[ch]' | LC_ALL=C sort | xargs awk '
    function offence(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; n_offences++ }
    function exists(path,   line, got) { got = (getline line < path); close(path); return got >= 0 }
    # Whether the text calls one of the names in the alternation.
    function calls(text, names) { return text ~ ("(^|[^A-Za-z0-9_.>])(" names ")[ \t]*\\(") }
    function included(path, angled,   first, layer) {
        if (path ~ /^(EGL\/|gbm\.h|xf86drm)/ && folder != "platform") { offence("<" path "> outside platform/"); return }
        if (path ~ /^GLES[23]?\// && folder != "gpu" && folder != "platform") { offence("<" path "> outside src/gpu/"); return }
        if (folder == "include") {
            if (angled && path !~ /^(stdbool|stddef|stdint|limits|float)\.h$/) offence("<" path "> in a public header")
            if (!angled && !exists("include/esker/" path)) offence("\"" path "\" in a public header is not a public header")
            return
        }
        if (angled) {
            if (path ~ /^esker\// && !exists("include/" path)) offence("<" path "> is no public header")
            return
        }
        first = path; sub(/\/.*/, "", first)
        if (path ~ /\// && (first in rank)) layer = first
        else if (path ~ /^cli\//) layer = "cli"
        else if (exists(own path)) layer = folder
        else if (exists("platform/" path)) layer = "platform"
        else { offence("\"" path "\" is not found"); return }
        if (layer == folder) return
        if (folder == "cli") offence("\"" path "\": the command uses public headers alone")
        else if (layer == "cli" || rank[layer] > rank[folder]) offence("\"" path "\": " folder " comes before " layer)
    }
    BEGIN {
        n = split("base platform gpu tensor graph plan ops eager nn selftest io data train", names, " ")
        for (i = 1; i <= n; i++) rank[names[i]] = i
    }
    FNR == 1 {
        n_files++
        comment = 0
        own = FILENAME; sub(/[^\/]*$/, "", own)
        folder = FILENAME
        if (!sub(/^src\//, "", folder) && folder ~ /^include/) folder = "include"
        sub(/\/.*/, "", folder)
        if (folder != "include" && folder != "cli" && !(folder in rank)) offence("src/" folder " is no layer")
    }
    {
        # Leave out comments; `bare` leaves out the insides of strings and characters too.
        code = ""; bare = ""; quote = ""
        for (i = 1; i <= length($0); i++) {
            c = substr($0, i, 1); two = substr($0, i, 2)
            if (comment) { if (two == "*/") { comment = 0; i++ }; continue }
            if (quote != "") {
                code = code c
                if (c == "\\") { i++; code = code substr($0, i, 1) } else if (c == quote) { quote = ""; bare = bare c }
                continue
            }
            if (two == "/*") { comment = 1; i++; continue }
            if (two == "//") break
            if (c == "\"" || c == "\047") quote = c
            code = code c; bare = bare c
        }
        if (code ~ /^[ \t]*#[ \t]*include/) {
            path = code; sub(/^[^<"]*[<"]/, "", path); sub(/[>"].*/, "", path)
            included(path, code ~ /</)
            next
        }
        if (folder == "include" || folder == "cli") next
        if (folder == "platform") gsub(/glGet(String|Integerv|Error)[ \t]*\(/, "", bare)
        if (folder != "gpu" && calls(bare, "gl[A-Z][A-Za-z0-9]*")) offence("a GL call outside src/gpu/")
        if (folder != "platform" && calls(bare, "(egl|gbm_|drm)[A-Z_a-z][A-Za-z0-9_]*")) offence("an EGL or GBM call outside platform/")
        if (FILENAME != "src/base/memory.c" &&
            calls(bare, "malloc|calloc|realloc|reallocarray|free|strdup|strndup|asprintf|vasprintf|aligned_alloc|posix_memalign"))
            offence("the C heap outside src/base/memory.c")
        if (calls(bare, "printf|vprintf|puts|putchar|perror|abort|exit|_exit|quick_exit|signal|sigaction|raise") ||
            bare ~ /(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)/)
            offence("a library that prints, ends the program or touches signals")
    }
    END {
        if (n_files == 0) { print "no files"; exit 1 }
        printf "%d files, %d offences\n", n_files, n_offences
        exit n_offences > 0
    }')
}

# plant FILE TEXT: a tree of its own with this one line must fail; plant_clean: must pass.
plant() { verdict=1; plant_any "$@"; }
plant_clean() { verdict=0; plant_any "$@"; }
plant_any() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/platform" "$work/tree/include/esker"
    for folder in base gpu tensor graph plan ops eager nn selftest io data train cli; do mkdir -p "$work/tree/src/$folder"; done
    for header in base/x gpu/x graph/x ops/x; do printf 'int x;\n' >"$work/tree/src/$header.h"; done
    printf '#include <stdint.h>\n' >"$work/tree/include/esker/x.h"
    printf 'int x;\n' >"$work/tree/platform/egl.h"
    printf '%s\n' "$2" >"$work/tree/$1"
    got=0
    check "$work/tree" >"$work/out" || got=1
    if [ "$got" -ne "$verdict" ]; then
        echo "self-test: $1 with: $2"
        cat "$work/out"
        failed=1
    fi
}

if [ "$1" != --self-test ]; then
    check "$1"
    exit
fi
work=$2
failed=0
plant src/graph/a.c '#include "ops/x.h"'
plant src/base/a.c '#include "egl.h"'
plant src/io/a.c '#include "cli/x.h"'
plant src/gpu/a.c '#include "missing.h"'
plant src/cli/a.c '#include "base/x.h"'
plant src/ops/a.c '#include <GLES3/gl31.h>'
plant src/gpu/a.c '#include <EGL/egl.h>'
plant src/gpu/a.c '#include <esker/none.h>'
plant include/esker/a.h '#include <stdio.h>'
plant include/esker/a.h '#include "base/x.h"'
plant src/more.c 'int x;'
plant src/plan/a.c 'void f(void) { glFlush(); }'
plant platform/a.c 'void f(void) { glFlush(); }'
plant src/plan/a.c 'void f(void) { eglSwapBuffers (0); }'
plant src/plan/a.c 'void f(void *p) { if (p) free(p); }'
plant src/plan/a.c 'char *f(void) { return strdup("x"); }'
plant src/plan/a.c 'void f(void) { printf("x"); }'
plant src/plan/a.c 'void f(void) { fputs("x", stderr); }'
plant src/plan/a.c 'void f(void) { abort(); }'
plant src/plan/a.c '/* a comment */ void f(void) { exit(1); }'
plant_clean src/ops/a.c '#include "graph/x.h" /* #include "cli/x.h" */'
plant_clean src/gpu/a.c '#include "egl.h"'
plant_clean src/base/memory.c 'void f(void *p) { free(p); }'
plant_clean src/plan/a.c 'void f(void *p) { esker__free(p); g->free(p); h("malloc(", 34); } // abort();'
plant_clean platform/a.c 'void f(void) { glGetString(1); }'
plant_clean src/gpu/a.c 'void f(void) { glFlush(); }'
plant_clean src/cli/a.c 'void f(void) { printf("x"); }'
[ "$failed" -eq 0 ] && echo "every planted offence was found"
exit "$failed"
