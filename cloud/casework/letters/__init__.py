"""The texts of letters, a file per language; `cloud.rules.letters` fills them in."""
