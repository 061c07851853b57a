#!/bin/sh
# Fetch the files of others that the desk serves, at fixed versions, with their licence texts; then write HASHES.
# Run it by hand to move to a newer version, look at the pages, and commit the result. Nothing is fetched at run time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
nlds="$here/nlds"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

take() { # take PACKAGE VERSION FILE-IN-PACKAGE NAME-HERE LICENCE-IN-PACKAGE
    (cd "$work" && rm -rf package && tar xzf "$(npm pack --silent "$1@$2")")
    cp "$work/package/$3" "$nlds/$4"
    cp "$work/package/$5" "$nlds/licences/$4.txt"
}

mkdir -p "$nlds/licences"
take @utrecht/component-library-css 9.0.4 dist/index.css components.css LICENSE.md
take @nl-design-system-unstable/voorbeeld-design-tokens 7.4.1 dist/theme.css theme.css LICENSE.md
take @nl-design-system-candidate/button-css 1.1.0 dist/button.css nl-button.css LICENSE.md
take @nl-design-system-candidate/skip-link-css 1.0.5 dist/skip-link.css nl-skip-link.css LICENSE.md
take @nl-design-system-candidate/data-badge-css 1.0.5 dist/data-badge.css nl-data-badge.css LICENSE.md
take @fontsource-variable/noto-sans 5.3.0 files/noto-sans-latin-wght-normal.woff2 noto-sans-latin.woff2 LICENSE
take @fontsource-variable/noto-sans 5.3.0 files/noto-sans-latin-ext-wght-normal.woff2 noto-sans-latin-ext.woff2 LICENSE
take hls.js 1.7.4 dist/hls.light.min.mjs hls.light.min.mjs LICENSE

# A source map is a second copy of the source and nobody serves it: drop the pointers to it.
sed -i 's|^//# sourceMappingURL=.*$||; s|/\*# sourceMappingURL=[^*]*\*/||' "$nlds"/*.css "$nlds"/*.mjs
(cd "$nlds" && sha256sum ./*.css ./*.mjs ./*.woff2 licences/*.txt > HASHES)
cat "$nlds/HASHES"
