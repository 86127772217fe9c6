#!/usr/bin/env bash
# Train a small C-Tran on drawn scenes, score it with more and more labels known, and tag a few pictures. Then train a
# tagger for other pictures from the same network in stages, as is done with a pretrained network and your own pictures.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
RUN=runs/demo

show() { printf '\n$ %s\n' "$*"; "$@"; }

if [ -f "$RUN/recipe.yaml" ]; then
    show tagformer train --resume --out "$RUN"
else
    show tagformer train --recipe scenes-ctran --out "$RUN"
fi
show tagformer evaluate "$RUN" --known-share 0,25,50,75 --draws 3
show python examples/contact_sheet.py "$RUN"
if [ -f "$RUN-stages/recipe.yaml" ]; then
    show tagformer train --resume --out "$RUN-stages"
else
    show tagformer train --data "scenes?images=600&seed=1" --backbone tiny --init "$RUN" --set image.size=64 \
        --minutes 0.5 --out "$RUN-stages"
fi

cat <<END

Try next:
  make serve                                                 a page: answer a label, and see the others move
  .venv/bin/tagformer predict $RUN $RUN/pictures
  .venv/bin/tagformer predict $RUN $RUN/pictures/test-00001.png --known disc=yes,ring=no
  .venv/bin/tagformer data csv:my.csv                        your own images: a CSV with the columns path and tags
  .venv/bin/tagformer train --data csv:my.csv --out runs/mine
END
