"""The tables of a file of answers.

The state of a cell, one label of one image, is its last answer that was not taken back. In files of version 1 it was
not where two people had answered the cell and both took it back.
"""

APPLICATION, VERSION = 0x7A6F5301, 2  # so that a file of something else is never changed

# Answers that were not taken back.
COUNTED = "FROM answers JOIN steps USING (step) WHERE kind = 'answer' AND step NOT IN (SELECT step FROM taken_back)"

FROM_VERSION_1 = f"""UPDATE states SET state = coalesce((
    SELECT after {COUNTED} AND image = states.image AND label = states.label
    ORDER BY answers.rowid DESC LIMIT 1), -1)"""

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
