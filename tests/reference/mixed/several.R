# lme4 and lmerTest with three and four grouping factors, nested and crossed.
# Run from this folder: Rscript several.R   (writes data/several.csv and several.json)
source("common.R")
RNGkind("Mersenne-Twister", "Inversion", "Rejection")
set.seed(117)
clinics <- 7; per_clinic <- 4; per_therapist <- 4; sessions <- 6
d <- expand.grid(session = 1:sessions, p = 1:per_therapist, t = 1:per_clinic, c = 1:clinics)
d$therapist <- (d$c - 1) * per_clinic + d$t
d$patient <- (d$therapist - 1) * per_therapist + d$p
d <- d[runif(nrow(d)) < .85, ]
n <- nrow(d)
d$rater <- sample(1:6, n, TRUE)
d$x <- round(rnorm(n), 3)
moved <- runif(n) < .1 # sessions with a therapist of another clinic
d$seen_by <- ifelse(moved, sample(1:(clinics * per_clinic), n, TRUE), d$therapist)
b <- rnorm(max(d$patient), sd = 2); s <- rnorm(max(d$patient), sd = .4)
d$y <- round(20 + .5 * d$session - .4 * d$x + rnorm(clinics, sd = 1.5)[d$c] + rnorm(28, sd = 1)[d$seen_by] +
  rnorm(6, sd = .8)[d$rater] + b[d$patient] + s[d$patient] * d$session + rnorm(n, sd = 1.6), 3)
name <- function(prefix, i) sprintf("%s%02d", prefix, i)
write.csv(data.frame(clinic = name("c", d$c), therapist = name("t", d$therapist), seen_by = name("t", d$seen_by),
  patient = name("p", d$patient), rater = name("r", d$rater), session = d$session, x = d$x, y = d$y),
  "data/several.csv", row.names = FALSE, quote = FALSE)

MODELS <- list(
  list("nested", "y ~ session + x + (1 | clinic/therapist/patient)"),
  list("nested_slopes", "y ~ session + x + (1 + session | patient) + (1 | therapist) + (1 | clinic)"),
  list("nested_slopes_ml", "y ~ session + x + (1 + session | patient) + (1 | therapist) + (1 | clinic)", FALSE),
  list("slopes_at_three_levels", "y ~ session + x + (1 + session | patient) + (1 + session | therapist) + (1 + session | clinic)"),
  list("crossed", "y ~ session + x + (1 + session | patient) + (1 | seen_by) + (1 | clinic)"),
  list("crossed_slopes", "y ~ session + x + (1 | patient) + (1 + x | seen_by) + (1 | clinic)"),
  list("four", "y ~ session + x + (1 + session | patient) + (1 | seen_by) + (1 | clinic) + (1 | rater)"),
  list("four_nested", "y ~ session + x + (1 | patient) + (1 | therapist) + (1 | clinic) + (1 | rater)", FALSE)
)
d <- read.csv("data/several.csv", stringsAsFactors = TRUE)
record <- function(spec) {
  message(spec[[1]])
  reml <- if (length(spec) >= 3) spec[[3]] else TRUE
  tight <- fit_tight(as.formula(spec[[2]], env = globalenv()), d, reml)
  model <- tight$model
  co <- coef(summary(suppressWarnings(as_lmerModLmerTest(model))))
  re <- ranef(model, condVar = TRUE)
  list(name = spec[[1]], formula = spec[[2]], reml = reml, n = nobs(model), singular = tight$singular, deviance = tight$deviance,
    terms = python_names(names(fixef(model)), d), estimate = unname(fixef(model)), std_error = unname(co[, "Std. Error"]),
    df = unname(co[, "df"]), variances = variance_rows(model), fitted = unname(head(fitted(model), 8)),
    random_effects = lapply(re, function(tab) {
      keep <- seq_len(min(5, nrow(tab)))
      var <- attr(tab, "postVar")
      sd <- sqrt(vapply(seq_len(ncol(tab)), function(j) var[j, j, ], numeric(nrow(tab))))
      list(levels = I(rownames(tab)[keep]), terms = I(names(tab)), mode = unname(as.matrix(tab[keep, , drop = FALSE])),
           sd = sd[keep, , drop = FALSE])
    }))
}
write_json_file(list(versions = versions(c("lme4", "lmerTest", "numDeriv")), models = lapply(MODELS, record)), "several.json")
