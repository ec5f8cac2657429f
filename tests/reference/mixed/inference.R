# Kenward-Roger (pbkrtest), marginal means, contrasts and slopes (emmeans), cluster-robust tests (clubSandwich),
# profile intervals (lme4; dense.R for rho), likelihood-ratio tests and R2 written out by formula.
# Run from this folder: Rscript inference.R   (writes inference.json)
source("common.R")
source("dense.R")
suppressPackageStartupMessages({
  library(pbkrtest)
  library(emmeans)
  library(clubSandwich)
})
emm_options(lmerTest.limit = 1e5, pbkrtest.limit = 1e5)
lmer_models <- fromJSON("lmer_models.json", simplifyVector = FALSE)$models
names(lmer_models) <- vapply(lmer_models, `[[`, "", "name")

model_of <- function(name) {
  spec <- lmer_models[[name]]
  data <- read_data(spec$data)
  fit_tight(as.formula(gsub("**", "^", spec$formula, fixed = TRUE), env = globalenv()), data, spec$reml)$model
}
tested <- function(model) suppressWarnings(as_lmerModLmerTest(model))

kenward_roger <- function(name) {
  message("kenward-roger ", name)
  m <- model_of(name)
  adjusted <- vcovAdj(m)
  p <- length(fixef(m))
  df <- vapply(seq_len(p), function(j) { L <- rep(0, p); L[j] <- 1; get_Lb_ddf(m, L) }, 1)
  an <- anova(tested(m), type = 3, ddf = "Kenward-Roger")
  list(name = name, vcov = unname(as.matrix(adjusted)), df = I(df), anova = lapply(seq_len(nrow(an)), function(i) list(
    term = rownames(an)[i], num_df = an[i, "NumDF"], den_df = an[i, "DenDF"], f = an[i, "F value"], p = an[i, "Pr(>F)"])))
}

rows_of <- function(table) { table <- as.data.frame(table); names(table) <- sub("^.*\\.trend$", "slope", names(table)); table }
marginal <- function() {
  out <- list()
  add <- function(case, name, kind, table) out[[length(out) + 1]] <<- list(case = case, name = name, kind = kind, rows = rows_of(table))
  for (name in c("arm_by_session", "three_way", "arm_by_sex_nested")) {
    message("emmeans ", name)
    m <- tested(model_of(name))
    for (df in c("satterthwaite", if (name != "three_way") "kenward-roger")) {
      e <- suppressMessages(emmeans(m, "arm", lmer.df = df))
      add(df, name, "means arm", e)
      add(df, name, "pairs arm", pairs(e, adjust = "none", reverse = TRUE)) # later level minus earlier
    }
    e <- suppressMessages(emmeans(m, c("arm", "sex"), lmer.df = "satterthwaite"))
    add("satterthwaite", name, "means arm sex", e)
  }
  m <- tested(model_of("arm_by_session"))
  e <- suppressMessages(emmeans(m, "arm", at = list(session = c(10), within = .5), lmer.df = "satterthwaite"))
  add("satterthwaite", "arm_by_session", "means arm at session=10 within=.5", e)
  e <- emtrends(m, "arm", var = "session", lmer.df = "satterthwaite")
  add("satterthwaite", "arm_by_session", "slopes session arm", e)
  add("satterthwaite", "arm_by_session", "pairs slopes session arm", pairs(e, adjust = "none", reverse = TRUE))
  e <- emtrends(tested(model_of("transform")), ~session, var = "session", at = list(session = c(2, 8)), lmer.df = "satterthwaite", delta.var = 1e-4)
  add("satterthwaite", "transform", "slopes session at 2, 8", e)
  out
}

robust <- function(name, cluster) {
  message("clubSandwich ", name)
  m <- model_of(name)
  data <- get(".data", globalenv())
  g <- data[[cluster]]
  out <- list(name = name, cluster = cluster)
  for (type in c("CR0", "CR1", "CR2")) {
    V <- vcovCR(m, cluster = g, type = type)
    test <- coef_test(m, vcov = V, test = "Satterthwaite")
    p <- length(fixef(m))
    L <- diag(p)[-1, , drop = FALSE] # all but the intercept
    w <- Wald_test(m, constraints = L, vcov = V, test = "HTZ")
    out[[type]] <- list(vcov = unname(as.matrix(V)), df = I(test$df_Satt %||% test$df), wald = list(f = w$Fstat, den_df = w$df_denom, num_df = w$df_num, p = w$p_val))
  }
  out
}
`%||%` <- function(a, b) if (is.null(a)) b else a

profiles <- function(name) {
  message("profile ", name)
  spec <- lmer_models[[name]]
  assign(".data", read_data(spec$data), globalenv()) # lme4 profiles by ML
  tight <- lmerControl(optimizer = "nloptwrap", optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-12, xtol_rel = 0, ftol_rel = 0, maxeval = 5000))
  m <- lme4::lmer(as.formula(spec$formula, env = globalenv()), .data, REML = FALSE, control = tight)
  said <- character()
  ci <- withCallingHandlers({
    pr <- profile(m, delta = .15, devtol = 1e-6, signames = FALSE)
    confint(pr, level = .95)
  }, warning = function(w) { said <<- c(said, conditionMessage(w)); invokeRestart("muffleWarning") })
  list(name = name, parameters = rownames(ci), low = unname(ci[, 1]), high = unname(ci[, 2]), says = as.list(unique(said)))
}

# The same by dense.R, which solves the defining equation itself: REML and ML, SDs of single intercepts and rho
dense_profiles <- function() {
  s <- read_data("serial")
  case <- function(name, model, start, index, back, what) {
    message("dense profile ", name)
    fit <- dense_fit(model, start)
    list(name = name, what = what, deviance = fit$deviance, estimate = back(fit$par[index]), interval = back(dense_profile(model, fit, index)))
  }
  P <- function(terms) list(list(group = "patient", terms = terms))
  fixed <- y ~ session + x
  list(
    case("ar1_intercept", dense_model(fixed, P(~1), s, "ar1", "session", top = "patient"), c(1, .3, .6), 2, tanh, "rho"),
    case("ar1_slope", dense_model(fixed, P(~ 1 + session), s, "ar1", "session", top = "patient"), c(1, 0, .1, .3, .6), 4, tanh, "rho"),
    case("ar1_slope_ml", dense_model(fixed, P(~ 1 + session), s, "ar1", "session", top = "patient", REML = FALSE), c(1, 0, .1, .3, .6), 4, tanh, "rho"),
    case("car1_intercept", dense_model(fixed, P(~1), s, "car1", "day", top = "patient"), c(1, 2, .6), 2, plogis, "rho")
  )
}

likelihood_ratio <- function() {
  one <- function(name, small, large, data, reml, null) {
    a <- fit_tight(small, data, reml)$deviance
    b <- fit_tight(large, data, reml)$deviance
    x <- max(a - b, 0)
    list(name = name, small = deparse1(small), large = deparse1(large), reml = reml, statistic = x, null = null,
         p = if (x == 0) 1 else if (null == "chi2(0):chi2(1)") .5 * pchisq(x, 1, lower = FALSE)
         else if (null == "chi2(1):chi2(2)") .5 * pchisq(x, 1, lower = FALSE) + .5 * pchisq(x, 2, lower = FALSE)
         else if (null == "chi2(2):chi2(3)") .5 * pchisq(x, 2, lower = FALSE) + .5 * pchisq(x, 3, lower = FALSE)
         else pchisq(x, as.numeric(sub("chi2\\((.*)\\)", "\\1", null)), lower = FALSE))
  }
  r <- read_data("reaction"); t <- read_data("three_level"); x <- read_data("transfers"); q <- read_data("four_slopes")
  list(
    list(data = "reaction", test = one("slope", y ~ day + (1 | subject), y ~ day + (1 + day | subject), r, TRUE, "chi2(1):chi2(2)")),
    list(data = "reaction", test = one("slope_apart", y ~ day + (1 | subject), y ~ day + (1 + day || subject), r, TRUE, "chi2(0):chi2(1)")),
    list(data = "reaction", test = one("correlation", y ~ day + (1 + day || subject), y ~ day + (1 + day | subject), r, TRUE, "chi2(1)")),
    list(data = "transfers", test = one("therapist", y ~ session + x + (1 + session | patient), y ~ session + x + (1 + session | patient) + (1 | therapist), x, TRUE, "chi2(0):chi2(1)")),
    list(data = "transfers", test = one("therapist_slope", y ~ session + x + (1 + session | patient) + (1 | therapist), y ~ session + x + (1 + session | patient) + (1 + session | therapist), x, TRUE, "chi2(1):chi2(2)")),
    list(data = "three_level", test = one("therapist_zero", y ~ session + (1 + session | patient), y ~ session + (1 + session | patient) + (1 | therapist), t, TRUE, "chi2(0):chi2(1)")),
    list(data = "four_slopes", test = one("third_slope", y ~ x1 + x2 + x3 + (1 + x1 | patient), y ~ x1 + x2 + x3 + (1 + x1 + x2 | patient), q, TRUE, "chi2(2):chi2(3)")),
    list(data = "three_level", test = one("fixed", y ~ session + (1 + session | patient), y ~ session * arm + within + (1 + session | patient), t, FALSE, "chi2(5)"))
  )
}

# Nakagawa & Schielzeth (2013), Johnson (2014): mean over the rows of z'Dz for every random term
r_squared <- function(name) {
  m <- model_of(name)
  fixed <- drop(getME(m, "X") %*% fixef(m))
  mm <- getME(m, "mmList")
  D <- VarCorr(m)
  parts <- vapply(seq_along(mm), function(k) mean(rowSums((mm[[k]] %*% as.matrix(D[[k]])) * mm[[k]])), 1)
  sf <- var(fixed) # with n - 1, as MuMIn
  total <- sf + sum(parts) + sigma(m)^2
  list(name = name, marginal = sf / total, conditional = (sf + sum(parts)) / total, fixed = sf, random = I(parts),
       groups = I(names(m@cnms)), residual = sigma(m)^2)
}

write_json_file(list(
  versions = versions(c("lme4", "lmerTest", "pbkrtest", "emmeans", "clubSandwich")),
  kenward_roger = lapply(c("reaction_intercept", "reaction_slope", "growth_slope", "growth_intercept", "five_patients", "one_session",
                           "arm_by_session", "transfers_slopes", "arm_by_sex_nested", "q3"), kenward_roger),
  marginal_means = marginal(),
  robust = list(robust("three_level", "therapist"), robust("arm_by_session", "therapist"), robust("nested", "therapist"),
                robust("reaction_slope", "subject"), robust("growth_intercept", "child")),
  profiles = lapply(c("reaction_intercept", "reaction_slope", "growth_intercept", "transfers", "transfers_slopes", "reaction_independent"), profiles),
  dense_profiles = dense_profiles(),
  likelihood_ratio = likelihood_ratio(),
  r_squared = lapply(c("reaction_slope", "three_slopes", "arm_by_session", "nested", "transfers_slopes"), r_squared)
), "inference.json")
