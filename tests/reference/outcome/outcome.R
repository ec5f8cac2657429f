# Reference values for alliance_stats.outcome, every covariate built here from the raw tables.
# Rscript outcome.R, in this folder.
suppressMessages({library(lme4); library(lmerTest); library(jsonlite)})
sessions <- read.csv("sessions.csv"); events <- read.csv("events.csv"); patients <- read.csv("patients.csv")

table_of <- function(fit) {
  s <- coef(summary(fit)); df <- if ("df" %in% colnames(s)) s[, "df"] else rep(df.residual(fit), nrow(s))
  list(term = rownames(s), estimate = s[, 1], std_error = s[, 2], df = df, p_value = s[, ncol(s)])
}

# (a) post ~ pre + pattern + exposure
p <- subset(patients, pattern != "censored" & n_phq9 >= 2)
p$pattern <- relevel(factor(p$pattern), ref = "none")
linear <- lm(phq9_post ~ phq9_pre + pattern + n_rated, p)
mixed <- lmer(phq9_post ~ phq9_pre + pattern + n_rated + (1 | therapist), p)
only <- subset(p, pattern %in% c("repaired", "unrepaired"))
only$repaired <- as.numeric(only$pattern == "repaired")
# partial r of repaired against unrepaired given pre, as the correlation of residuals; Fisher interval with n - k - 3
a <- resid(lm(-phq9_post ~ phq9_pre, only)); b <- resid(lm(repaired ~ phq9_pre, only))
r <- cor(a, b); reach <- qnorm(.975) / sqrt(nrow(only) - 1 - 3)
# Hedges g of raw post scores, unrepaired - repaired
x <- only$phq9_post[only$repaired == 0]; y <- only$phq9_post[only$repaired == 1]
m <- length(x) + length(y) - 2
pooled <- sqrt(((length(x) - 1) * var(x) + (length(y) - 1) * var(y)) / m)
g <- exp(lgamma(m / 2) - lgamma((m - 1) / 2)) / sqrt(m / 2) * (mean(y) - mean(x)) / pooled

# (b) next session
state <- function(patient, session) {
  own <- events[events$patient == patient & events$onset <= session, ]
  healed <- !is.na(own$repaired_at) & own$repaired_at <= session
  c(open = as.numeric(any(!healed)), repaired = as.numeric(any(healed)))
}
s <- sessions
s$within <- s$alliance - ave(s$alliance, s$patient, FUN = function(v) mean(v, na.rm = TRUE))
s$between <- ave(s$alliance, s$patient, FUN = function(v) mean(v, na.rm = TRUE))
s$first <- ave(s$phq9, s$patient, FUN = function(v) v[!is.na(v)][1])
key <- paste(s$patient, s$session)
s$nxt <- s$phq9[match(paste(s$patient, s$session + 1), key)]
st <- t(mapply(state, s$patient, s$session)); s$open <- st[, "open"]; s$repaired <- st[, "repaired"]
# lmer's default stops early on two of these; a tighter search reaches the optimum
s$openb <- ave(s$open, s$patient); s$repairedb <- ave(s$repaired, s$patient)
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 1e-2, rhoend = 1e-10, maxfun = 1e5))
nextfit <- lmer(nxt ~ phq9 + first + within + between + open + repaired + openb + repairedb + session + (1 + session | patient) +
  (1 | therapist), s, control = control)
nextml <- lmer(nxt ~ phq9 + first + within + between + open + repaired + session + (1 | patient), s, control = control)

# (c) growth
w <- merge(s, patients[, c("patient", "pattern")]); w <- subset(w, pattern != "censored" & !is.na(phq9))
w$pattern <- relevel(factor(w$pattern), ref = "none"); w$time <- w$session - 1
growth <- lmer(phq9 ~ time * pattern + (1 + time | patient) + (1 | therapist), w, control = control)

write_json(list(
  versions = list(R = R.version.string, lme4 = as.character(packageVersion("lme4")),
                  lmerTest = as.character(packageVersion("lmerTest"))),
  linear = table_of(linear), mixed = c(table_of(mixed), log_likelihood = as.numeric(logLik(mixed)), n = nobs(mixed)),
  partial_r = c(r, tanh(atanh(r) - reach), tanh(atanh(r) + reach)), hedges_g = g, n_only = nrow(only),
  next_session = c(table_of(nextfit), log_likelihood = as.numeric(logLik(nextfit)), n = nobs(nextfit),
                   singular = isSingular(nextfit)),
  next_intercept = c(table_of(nextml), log_likelihood = as.numeric(logLik(nextml)), n = nobs(nextml),
                     singular = isSingular(nextml)),
  growth = c(table_of(growth), log_likelihood = as.numeric(logLik(growth)), n = nobs(growth),
             singular = isSingular(growth))
), "outcome.json", digits = 12, auto_unbox = TRUE, pretty = TRUE)
