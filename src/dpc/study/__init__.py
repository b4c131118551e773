"""A pairwise study that anyone can run: plan (dpc study new) -> serve -> report.

    plan        study.toml: design, checks, limits; comparisons, and what a number of votes can show
    stimuli     pictures and codecs or folders -> PNG files of equal bytes, and the hidden truth
    pairing     which comparison is asked next
    store       the database: people, trials, votes
    app         the web application
    analysis    votes -> exclusions, preferences, scores, bits at equal preference, agreement
    report      the page and its tables
    simulate    raters that are no people, labelled as such

docs/guide/study.md is the protocol.
"""
