"""The tables of a file of answers."""

APPLICATION, VERSION = 0x7A6F5301, 1  # so that a file of something else is never changed

SCHEMA = (
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
    """CREATE TABLE IF NOT EXISTS steps (
        step INTEGER PRIMARY KEY AUTOINCREMENT, person TEXT NOT NULL, at TEXT NOT NULL, version TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('answer', 'undo', 'redo')), request TEXT UNIQUE)""",
    """CREATE TABLE IF NOT EXISTS answers (
        step INTEGER NOT NULL REFERENCES steps, image TEXT NOT NULL, label TEXT NOT NULL,
        before INTEGER NOT NULL, after INTEGER NOT NULL CHECK (after IN (-1, 0, 1)))""",
    "CREATE INDEX IF NOT EXISTS answers_of_step ON answers (step)",
    "CREATE INDEX IF NOT EXISTS answers_of_cell ON answers (image, label)",
    "CREATE INDEX IF NOT EXISTS steps_of_person ON steps (person, kind, step)",
    """CREATE TABLE IF NOT EXISTS states (
        image TEXT NOT NULL, label TEXT NOT NULL, state INTEGER NOT NULL, step INTEGER NOT NULL REFERENCES steps,
        PRIMARY KEY (image, label)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS taken_back (step INTEGER PRIMARY KEY REFERENCES steps)",
    """CREATE TABLE IF NOT EXISTS undone (
        number INTEGER PRIMARY KEY AUTOINCREMENT, person TEXT NOT NULL, step INTEGER NOT NULL REFERENCES steps)""",
    """CREATE TABLE IF NOT EXISTS submitted (
        image TEXT PRIMARY KEY, person TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS leases (
        image TEXT PRIMARY KEY, person TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID""",
)
