# nlme (lme) with serial correlation and unequal residual variances, and the same models by the written-out likelihood
# of dense.R, which also gives Satterthwaite df that no R package offers for them.
# Run from this folder: Rscript nlme_models.R   (writes nlme_models.json; some minutes)
source("common.R")
source("dense.R")
tight_lme <- lmeControl(opt = "nlminb", msTol = 1e-14, tolerance = 1e-10, msMaxIter = 1000, msMaxEval = 5000, maxIter = 500,
                        niterEM = 50, returnObject = TRUE)
P <- function(terms) list(group = "patient", terms = terms)
TH <- function(terms) list(group = "therapist", terms = terms)

MODELS <- list(
  list(name = "ar1_intercept", data = "serial", fixed = y ~ session + x, random = list(P(~1)), corr = "ar1", time = "session",
       formula = "y ~ session + x + (1 | patient)"),
  list(name = "ar1_slope", data = "serial", fixed = y ~ session + x, random = list(P(~ 1 + session)), corr = "ar1", time = "session",
       formula = "y ~ session + x + (1 + session | patient)"),
  list(name = "ar1_slope_ml", data = "serial", fixed = y ~ session + x, random = list(P(~ 1 + session)), corr = "ar1", time = "session",
       formula = "y ~ session + x + (1 + session | patient)", reml = FALSE),
  list(name = "ar1_factor", data = "serial", fixed = y ~ session * arm + x, random = list(P(~ 1 + session)), corr = "ar1", time = "session",
       formula = "y ~ session * arm + x + (1 + session | patient)"),
  list(name = "ar1_three_level", data = "three_level", fixed = y ~ session + within + between,
       random = list(TH(~1), P(~ 1 + session)), corr = "ar1", time = "session", top = "therapist",
       formula = "y ~ session + within + between + (1 + session | patient) + (1 | therapist)"),
  list(name = "ar1_arms", data = "three_level", fixed = y ~ session * arm + sex + within,
       random = list(TH(~1), P(~ 1 + session)), corr = "ar1", time = "session", top = "therapist",
       formula = "y ~ session * arm + sex + within + (1 + session | patient) + (1 | therapist)"),
  list(name = "ar1_therapist_slopes", data = "three_level", fixed = y ~ session + within + between,
       random = list(TH(~ 1 + session), P(~ 1 + session)), corr = "ar1", time = "session", top = "therapist",
       formula = "y ~ session + within + between + (1 + session | patient) + (1 + session | therapist)"),
  list(name = "ar1_no_gaps", data = "reaction", fixed = y ~ day, random = list(list(group = "subject", terms = ~ 1 + day)), corr = "ar1",
       time = "day", series = "subject", formula = "y ~ day + (1 + day | subject)"),
  list(name = "ar1_transfers", data = "transfers", fixed = y ~ session + x, random = list(P(~ 1 + session), TH(~1)), corr = "ar1",
       time = "session", top = NA, formula = "y ~ session + x + (1 + session | patient) + (1 | therapist)"),
  list(name = "car1_intercept", data = "serial", fixed = y ~ session + x, random = list(P(~1)), corr = "car1", time = "day",
       formula = "y ~ session + x + (1 | patient)"),
  list(name = "car1_slope", data = "serial", fixed = y ~ session + x, random = list(P(~ 1 + session)), corr = "car1", time = "day",
       formula = "y ~ session + x + (1 + session | patient)"),
  list(name = "car1_slope_ml", data = "serial", fixed = y ~ session + x, random = list(P(~ 1 + session)), corr = "car1", time = "day",
       formula = "y ~ session + x + (1 + session | patient)", reml = FALSE),
  list(name = "strata", data = "serial", fixed = y ~ session + x + arm, random = list(P(~ 1 + session)), by = "arm",
       formula = "y ~ session + x + arm + (1 + session | patient)"),
  list(name = "strata_ml", data = "serial", fixed = y ~ session + x + arm, random = list(P(~ 1 + session)), by = "arm", reml = FALSE,
       formula = "y ~ session + x + arm + (1 + session | patient)"),
  list(name = "strata_ar1", data = "serial", fixed = y ~ session + x + arm, random = list(P(~ 1 + session)), by = "arm", corr = "ar1",
       time = "session", formula = "y ~ session + x + arm + (1 + session | patient)"),
  list(name = "cbasp_ar1", data = "shared:cbasp_sessions.csv", fixed = symptom_count ~ session * group, random = list(P(~ 1 + session)),
       corr = "ar1", time = "session", formula = "symptom_count ~ session * group + (1 + session | patient)")
)

by_nlme <- function(m, data, reml) {
  said <- character()
  if (identical(m$top, NA)) return(list(fit = NULL, said = "crossed factors: nlme cannot"))
  fit <- tryCatch(withCallingHandlers({
    random <- setNames(lapply(m$random, `[[`, "terms"), vapply(m$random, `[[`, "", "group"))
    groups <- paste(names(random), collapse = "/")
    at <- as.formula(paste("~", m$time %||% "1", "|", groups))
    args <- list(m$fixed, data = data, random = random, method = if (reml) "REML" else "ML", control = tight_lme)
    if (!is.null(m$corr)) args$correlation <- if (m$corr == "ar1") corAR1(.3, form = at) else corCAR1(.7, form = at)
    if (!is.null(m$by)) args$weights <- varIdent(form = as.formula(paste("~ 1 |", m$by)))
    do.call(lme, args)
  }, warning = function(w) { said <<- c(said, conditionMessage(w)); invokeRestart("muffleWarning") }),
  error = function(e) { said <<- c(said, conditionMessage(e)); NULL })
  list(fit = fit, said = said)
}
`%||%` <- function(a, b) if (is.null(a)) b else a

record <- function(m) {
  started <- proc.time()[[3]]
  data <- read_data(m$data)
  data <- data[complete.cases(data[all.vars(m$fixed)]), ]
  reml <- m$reml %||% TRUE
  n <- by_nlme(m, data, reml)
  model <- dense_model(m$fixed, m$random, data, m$corr, m$time, m$series %||% m$random[[1]]$group, m$by,
                       if (is.null(m$top)) m$random[[1]]$group else if (is.na(m$top)) NULL else m$top, reml)
  if (identical(m$top, "therapist")) model <- dense_model(m$fixed, m$random, data, m$corr, m$time, "patient", m$by, "therapist", reml)
  q <- vapply(m$random, function(r) length(all.vars(r$terms)) + 1L, 1L)
  start <- unlist(lapply(q, function(k) { L <- diag(c(1, rep(.15, k - 1)), k); L[lower.tri(L, TRUE)] }))
  if (!is.null(m$corr)) start <- c(start, if (m$corr == "ar1") .2 else 1)
  if (!is.null(m$by)) start <- c(start, .1)
  start <- c(start, log(sd(residuals(lm(m$fixed, data))) / 2))
  fit <- dense_fit(model, start)
  zero <- integer()
  diagonal <- cumsum(unlist(lapply(q, function(k) rev(seq_len(k))))) # positions after each diagonal
  diagonal <- c(1, head(diagonal, -1) + 1)
  tiny <- diagonal[abs(fit$par[diagonal]) < 1e-3]
  if (length(tiny)) { # on the boundary: hold it there and polish the rest
    zero <- tiny
    fit <- dense_fit(model, fit$par, zero)
  }
  s2 <- fit$parts$sigma^2
  groups <- vapply(m$random, `[[`, "", "group")
  message(sprintf("%-22s deviance %.8f  nlme - dense %+.2e  |gradient| %.1e  (%.0f s) %s", m$name, fit$deviance,
                  if (is.null(n$fit)) NA else -2 * as.numeric(logLik(n$fit)) - fit$deviance, fit$gradient,
                  proc.time()[[3]] - started, paste(n$said, collapse = "; ")))
  list(
    name = m$name, data = m$data, formula = m$formula, reml = reml, correlation = m$corr, time = m$time, residual_by = m$by,
    n = model$n, deviance = fit$deviance, gradient = fit$gradient, held_at_zero = I(zero), terms = I(python_names(model$names, data)),
    estimate = I(unname(fit$beta)), vcov = unname(fit$vcov), std_error = I(unname(sqrt(diag(fit$vcov)))), df = I(unname(fit$df)),
    covariance = setNames(lapply(fit$parts$D, function(D) unname(D * s2)), groups), sigma = fit$parts$sigma,
    rho = if (!is.null(m$corr)) fit$parts$rho,
    residual_sd = if (!is.null(m$by)) as.list(tapply(fit$parts$sd * fit$parts$sigma, data[[m$by]], `[`, 1)),
    nlme = list(
      deviance = if (!is.null(n$fit)) -2 * as.numeric(logLik(n$fit)), says = as.list(n$said),
      estimate = if (!is.null(n$fit)) I(unname(fixef(n$fit))), std_error = if (!is.null(n$fit)) I(unname(sqrt(diag(vcov(n$fit))))),
      df = if (!is.null(n$fit)) I(unname(n$fit$fixDF$X)),
      rho = if (!is.null(n$fit) && !is.null(m$corr)) unname(coef(n$fit$modelStruct$corStruct, unconstrained = FALSE)),
      sigma = if (!is.null(n$fit)) n$fit$sigma
    )
  )
}
write_json_file(list(versions = versions(c("nlme", "numDeriv")), models = lapply(MODELS, record)), "nlme_models.json")
