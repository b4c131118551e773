"""A pairwise study that anyone can run: new -> (edit study.toml) -> prepare -> serve -> report.

The plan and the pictures
    plan         what is asked: design, checks, limits, comparisons; power: what a number of votes can show
    plan_file    study.toml and prepared.json
    prepare      pictures and codecs or folders (sources) -> files of equal bytes (coded, unmet) -> what is shown
    stimuli      a study folder as it lies on disk, with the hidden truth
Taking part
    app          the web application (bodies: what may be sent; guard: limits and headers; server)
    store        raters, trials, votes in a database (database: tables; connections, health; records: what is read)
    dealer       what a session is asked next (pairing: which comparison; slots: in which order with the checks)
    simulate     raters that are no people, labelled as such
What the votes say
    collected    votes out of a study or a table; exclusions: whose are set aside
    preferences, ranking (by scores), bits, agreement: results of one set of votes; results: all of them
    report       the pages and their tables, charts
    export       votes as choix and R read them

docs/guide/study.md is the protocol.
"""
