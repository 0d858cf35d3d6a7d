"""`python -m keras_gce` is `keras-gce`."""

from keras_gce.cli import main

raise SystemExit(main())
