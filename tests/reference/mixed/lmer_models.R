# lme4 and lmerTest: estimates, standard errors, Satterthwaite df, type III F tests, conditional modes and SDs.
# Run from this folder: Rscript lmer_models.R   (writes lmer_models.json)
source("common.R")

MODELS <- list(
  list("reaction_intercept", "reaction", "y ~ day + (1 | subject)"),
  list("reaction_slope", "reaction", "y ~ day + (1 + day | subject)"),
  list("reaction_slope_ml", "reaction", "y ~ day + (1 + day | subject)", FALSE),
  list("reaction_independent", "reaction", "y ~ day + (1 + day || subject)"),
  list("reaction_slope_only", "reaction", "y ~ day + (0 + day | subject)"),
  list("growth_intercept", "growth", "distance ~ age * sex + (1 | child)"),
  list("growth_slope", "growth", "distance ~ age * sex + (1 + age | child)"),
  list("growth_slope_ml", "growth", "distance ~ age * sex + (1 + age | child)", FALSE),
  list("nested", "three_level", "y ~ session + within + between + (1 | therapist/patient)"),
  list("nested_ml", "three_level", "y ~ session + within + between + (1 | therapist/patient)", FALSE),
  list("three_level", "three_level", "y ~ session + within + between + (1 + session | patient) + (1 | therapist)"),
  list("three_level_ml", "three_level", "y ~ session + within + between + (1 + session | patient) + (1 | therapist)", FALSE),
  list("therapist_slopes", "three_level", "y ~ session + within + between + (1 + session | patient) + (1 + session | therapist)"),
  list("therapist_slopes_apart", "three_level", "y ~ session + within + (1 + session | patient) + (1 + session || therapist)"),
  list("three_slopes", "three_level", "y ~ session + within + (1 + session + within | patient) + (1 | therapist)"),
  list("arm_by_session", "three_level", "y ~ session * arm + sex + within + (1 + session | patient) + (1 | therapist)"),
  list("three_way", "three_level", "y ~ arm * sex * session + (1 + session | patient) + (1 | therapist)"),
  list("arm_by_sex", "three_level", "y ~ arm * sex + (1 | patient)"),
  list("arm_by_sex_nested", "three_level", "y ~ arm * sex + within + (1 | therapist/patient)"),
  list("transform", "three_level", "y ~ I(session ** 2) + session + within + (1 + session | patient)"),
  list("transfers", "transfers", "y ~ session + x + (1 | patient) + (1 | therapist)"),
  list("transfers_slopes", "transfers", "y ~ session + x + (1 + session | patient) + (1 | therapist)"),
  list("transfers_slopes_ml", "transfers", "y ~ session + x + (1 + session | patient) + (1 | therapist)", FALSE),
  list("transfers_therapist_slopes", "transfers", "y ~ session + x + (1 + session | patient) + (1 + session | therapist)"),
  list("q3", "four_slopes", "y ~ x1 + x2 + x3 + (1 + x1 + x2 | patient)"),
  list("q4", "four_slopes", "y ~ x1 + x2 + x3 + (1 + x1 + x2 + x3 | patient)"),
  list("q4_ml", "four_slopes", "y ~ x1 + x2 + x3 + (1 + x1 + x2 + x3 | patient)", FALSE),
  list("q4_independent", "four_slopes", "y ~ x1 + x2 + x3 + (1 + x1 + x2 + x3 || patient)"),
  list("no_variance", "no_variance", "y ~ session + (1 | patient)"),
  list("no_variance_at_all", "no_variance_at_all", "y ~ session + (1 + session | patient)"),
  list("no_slope_variance", "no_slope_variance", "y ~ session + (1 + session || patient)"),
  list("correlation_one", "correlation_one", "y ~ session + (1 + session | patient)"),
  list("correlation_minus_one", "correlation_minus_one", "y ~ session + (1 + session | patient)"),
  list("no_therapist_variance", "no_therapist_variance", "y ~ session + (1 | patient) + (1 | therapist)"),
  list("five_patients", "five_patients", "y ~ session + (1 + session | patient)"),
  list("one_session", "one_session", "y ~ session + (1 + session | patient)"),
  list("calendar_year", "calendar_year", "y ~ year + (1 + year | patient)", TRUE, NULL, c(year = 2000)),
  list("btheb_ml", "shared:hsaur3_btheb_long.csv", "bdi ~ bdi.pre + time + treatment + drug + length + (1 | subject)", FALSE),
  list("btheb_slope", "shared:hsaur3_btheb_long.csv", "bdi ~ bdi.pre + time * treatment + drug + length + (1 + time | subject)"),
  list("reframed_three_level", "shared:reframed_phq9.csv", "phq9 ~ month_num + (1 + month_num | patient) + (1 | therapist)", TRUE, "grp == 'RO-DBT' & month_num <= 12"),
  list("cbasp", "shared:cbasp_sessions.csv", "symptom_count ~ session * group + (1 + session | patient)")
)

# Conditional SDs, levels x terms; `||` makes postVar a list with one array per term
conditional_sd <- function(postVar) {
  if (is.list(postVar)) return(do.call(cbind, lapply(postVar, conditional_sd)))
  q <- dim(postVar)[1]
  sqrt(pmax(vapply(seq_len(q), function(j) postVar[j, j, ], numeric(dim(postVar)[3])), 0))
}

record <- function(spec) {
  name <- spec[[1]]
  message(name)
  data <- read_data(spec[[2]])
  reml <- if (length(spec) >= 4) spec[[4]] else TRUE
  if (length(spec) >= 5 && !is.null(spec[[5]])) data <- droplevels(subset(data, eval(parse(text = spec[[5]]))))
  r_formula <- as.formula(gsub("**", "^", spec[[3]], fixed = TRUE), env = globalenv())
  plain <- fit_plain(r_formula, data, reml)
  shift <- if (length(spec) >= 6) spec[[6]] # lmer cannot fit calendar years: fit years since, say so, keep plain lmer's failure
  for (column in names(shift)) data[[column]] <- data[[column]] - shift[[column]]
  tight <- fit_tight(r_formula, data, reml)
  model <- tight$model
  labels <- python_names(names(fixef(model)), data)
  labels <- gsub("^", " ** ", labels, fixed = TRUE)
  out <- list(
    name = name, data = spec[[2]], formula = spec[[3]], reml = reml, subset = if (length(spec) >= 5) spec[[5]],
    shift = if (!is.null(shift)) as.list(shift),
    n = nobs(model), theta = tight$theta, singular = tight$singular, deviance = tight$deviance,
    deviance_of_plain_lmer = plain$deviance, plain_lmer_says = as.list(plain$messages),
    terms = labels, estimate = unname(fixef(model)), vcov = unname(as.matrix(vcov(model))),
    variances = variance_rows(model), sigma = sigma(model)
  )
  lt <- suppressWarnings(as_lmerModLmerTest(model))
  co <- coef(summary(lt))
  out$std_error <- unname(co[, "Std. Error"])
  out$df <- unname(co[, "df"])
  out$p_value <- unname(co[, "Pr(>|t|)"])
  an <- anova(lt, type = 3)
  out$anova <- lapply(seq_len(nrow(an)), function(i) list(
    term = gsub("^", " ** ", rownames(an)[i], fixed = TRUE), num_df = an[i, "NumDF"], den_df = an[i, "DenDF"], f = an[i, "F value"], p = an[i, "Pr(>F)"]
  ))
  if (!startsWith(spec[[2]], "shared:")) { # nothing about single persons of the real data
    re <- ranef(model, condVar = TRUE)
    out$random_effects <- lapply(re, function(tab) {
      keep <- seq_len(min(6, nrow(tab)))
      list(levels = I(rownames(tab)[keep]), terms = I(names(tab)), mode = unname(as.matrix(tab[keep, , drop = FALSE])),
           sd = conditional_sd(attr(tab, "postVar"))[keep, , drop = FALSE])
    })
    out$residuals <- unname(head(resid(model), 5))
    out$fitted <- unname(head(fitted(model), 5))
  }
  out
}

write_json_file(list(versions = versions(c("lme4", "lmerTest", "numDeriv")), models = lapply(MODELS, record)), "lmer_models.json")
