from keras_gce.cli import main

raise SystemExit(main())
